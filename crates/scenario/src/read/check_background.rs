//! Checks of `background` and `join`: every action that is started is joined once, by its name.

use std::collections::BTreeMap;

use super::check::{Sink, name_given};
use super::decode::suggestion;
use super::node::Segment;
use super::outcomes;
use crate::model::Step;

/// What is under way at a step.
#[derive(Default)]
pub(super) struct Background {
    started: BTreeMap<String, Started>,
}

struct Started {
    action: &'static str,
    place: Vec<Segment>,
    /// The name by which later steps call what the action makes.
    gives: Option<String>,
}

impl Background {
    /// Looks at one step; answers whose outcome its `expect` is about.
    pub(super) fn step(
        &mut self,
        step: &Step,
        action: &'static str,
        path: &[Segment],
        known: &mut Vec<String>,
        sink: &mut Sink<'_>,
    ) -> &'static str {
        if let Some(name) = &step.background {
            self.start(name, step, action, path, sink);
        }
        let Some(name) = &step.join else { return action };
        let Some(started) = self.started.remove(name) else {
            let place = [path, &["join".into()]].concat();
            let help = suggestion(name, self.started.keys().map(String::as_str));
            sink.add(&place, format!("nothing called `{name}` is under way at this step"), help);
            return action;
        };
        known.extend(started.gives);
        started.action
    }

    fn start(
        &mut self,
        name: &str,
        step: &Step,
        action: &'static str,
        path: &[Segment],
        sink: &mut Sink<'_>,
    ) {
        let place = [path, &["background".into()]].concat();
        if !outcomes::may_wait(action) {
            sink.add(&place, format!("`{action}` can't be started in the background"), "remove `background`");
        }
        if step.expect.is_some() || step.within.is_some() {
            let help = "move `expect` to the `join`; `within` is not for actions in the background";
            sink.add(&place, "the step only starts its action, so there is no outcome yet", help);
        }
        let gives = name_given(step).map(|(name, _)| name.clone());
        let started = Started { action, place: place.clone(), gives };
        if self.started.insert(name.to_owned(), started).is_some() {
            sink.add(&place, format!("another action called `{name}` is under way"), "give it another name");
        }
    }

    /// Whatever was started has to be looked at.
    pub(super) fn never_joined(self, sink: &mut Sink<'_>) {
        for (name, started) in self.started {
            let help = format!("add a step `join: {name}`, with what you expect");
            sink.add(&started.place, format!("`{name}` is never joined, so nobody would see it fail"), help);
        }
    }
}
