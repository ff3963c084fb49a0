//! The mounted bucket against a local directory: the same operations must have the same results, and in the end the
//! bucket must hold the same files.

use std::fs;

use crate::common::{Agent, Store, blocking, in_namespaces};
use crate::steps::{Step, Tree, contents, in_bucket, sequences};

async fn compare(cases: Vec<Vec<Step>>) {
    let store = Store::start().await;
    let agent = Agent::start().await;
    let target = agent.mount(&store, "model", &[("otherOpts", "-o multipart_size=5")]).await;
    let local = tempfile::tempdir().expect("a directory");
    for (number, steps) in cases.into_iter().enumerate() {
        let case = format!("case-{number}");
        let (mounted, plain) = (target.join(&case), local.path().join(&case));
        let files = blocking(move || {
            fs::create_dir(&mounted).expect("made");
            fs::create_dir(&plain).expect("made");
            let (mut ours, mut theirs) = (Tree::new(mounted.clone()), Tree::new(plain.clone()));
            for (index, step) in steps.iter().enumerate() {
                let (our, their) = (ours.run(step), theirs.run(step));
                assert_eq!(our, their, "case {number}, step {index}: {:#?}", &steps[..=index]);
            }
            drop((ours, theirs));
            let files = contents(&plain);
            assert_eq!(contents(&mounted), files, "case {number}: {steps:#?}");
            files
        })
        .await;
        // A handle whose file was removed may still be closing.
        assert_eq!(
            in_bucket(&store, &format!("{case}/")).await,
            files,
            "case {number}: what the bucket holds"
        );
    }
    agent.unpublish(&target).await.expect("unmounted");
    assert!(!agent.stderr().contains("panicked"), "{}", agent.stderr());
}

#[test]
fn generated_operations_have_the_results_of_a_local_directory() {
    in_namespaces("local::generated_operations_have_the_results_of_a_local_directory", || async {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        // More of them by hand: CSI_NODE_MODEL_CASES=500 cargo test -p csi-node --test semantics local
        let count =
            std::env::var("CSI_NODE_MODEL_CASES").map_or(15, |count| count.parse().expect("a number"));
        compare(sequences(count, 60)).await;
    });
}
