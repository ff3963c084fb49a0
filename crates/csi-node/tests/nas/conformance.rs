//! The conformance test of the CSI, against the NAS driver.

use crate::common::in_namespaces;
use crate::sanity::conforms;
use crate::support::{EXPORT, Nas};

#[test]
fn the_conformance_test_of_the_csi_passes() {
    in_namespaces("conformance::the_conformance_test_of_the_csi_passes", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let context = [("server", "127.0.0.1"), ("path", EXPORT), ("csi.storage.k8s.io/pod.uid", "8f1c")];
        conforms(&agent, &context, &[]).await;
    });
}
