//! The revisions that a set keeps (`kubernetes.md` §3.2 step 6), as a pure function: all but the newest of its
//! `SandboxTemplates` are marked for whoever cleans up. The one in use is never marked, however old it is: a set that
//! goes back to an earlier template needs it.

use std::cmp::Reverse;
use std::sync::Arc;

use contract::crd::SandboxTemplate;
use contract::names::annotations;
use kube::ResourceExt as _;

use super::victims;

/// Materialised templates that are kept without a mark, the one in use among them.
pub const KEPT: usize = 10;

/// Which marks are missing and which are wrong, by the names of the templates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// To be marked.
    pub set: Vec<String>,
    /// To be unmarked.
    pub clear: Vec<String>,
}

/// The marks for the templates that a set owns. `current` is the name of the one in use.
pub fn marks(owned: &[Arc<SandboxTemplate>], current: &str) -> Marks {
    let mut ordered: Vec<_> = owned.iter().collect();
    ordered
        .sort_by_key(|template| (template.name_any() != current, Reverse(victims::age(template.as_ref()))));
    let (kept, surplus) = ordered.split_at(ordered.len().min(KEPT));
    let names = |templates: &[&Arc<SandboxTemplate>], marked: bool| {
        let matching = templates.iter().filter(|template| is_marked(template) == marked);
        matching.map(|template| template.name_any()).collect()
    };
    Marks { set: names(surplus, false), clear: names(kept, true) }
}

fn is_marked(template: &SandboxTemplate) -> bool {
    template.annotations().contains_key(annotations::CLEANUP_CANDIDATE)
}
