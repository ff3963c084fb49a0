//! Attributes without which a driver can't mount: missing ones are named before anything is asked of it.

use std::collections::BTreeMap;

use contract::names::drivers::{NAS, OSS};
use csi_api::NodePublishVolumeRequest;

use super::problem::Problem;

/// Checks the driver's name.
pub(super) fn check_driver(driver: &str) -> Result<(), Problem> {
    if [NAS, OSS].contains(&driver) {
        return Ok(());
    }
    Err(Problem::bad_request(format!("unsupported storage driver {driver:?}: want {NAS} or {OSS}")))
}

/// Checks that `request` has what `driver` needs.
pub(super) fn check_attributes(driver: &str, request: &NodePublishVolumeRequest) -> Result<(), Problem> {
    let attribute = |name: &str| has(&request.volume_context, name);
    if driver == NAS {
        return need(attribute("server") || attribute("accessPoint"), "volume attribute server");
    }
    need(attribute("bucket"), "volume attribute bucket")?;
    need(attribute("url"), "volume attribute url")?;
    if attribute("authType") {
        return Ok(());
    }
    let secret = |name: &str| has(&request.secrets, name);
    if secret("AccessKeyId") && secret("AccessKeySecret") {
        return Ok(());
    }
    need(secret("akId"), "secret key akId")?;
    need(secret("akSecret"), "secret key akSecret")
}

fn has(map: &BTreeMap<String, String>, name: &str) -> bool {
    map.iter().any(|(key, value)| key.eq_ignore_ascii_case(name) && !value.trim().is_empty())
}

fn need(present: bool, what: &str) -> Result<(), Problem> {
    if present { Ok(()) } else { Err(Problem::invalid(format!("{what} is missing"))) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn map(names: &[&str]) -> BTreeMap<String, String> {
        names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect()
    }

    #[rstest]
    #[case(OSS, &["bucket", "url"], &["akId", "akSecret"], None)]
    #[case(OSS, &["Bucket", "URL"], &["accesskeyid", "AccessKeySecret"], None)]
    #[case(OSS, &["bucket"], &["akId", "akSecret"], Some("url"))]
    #[case(OSS, &["url"], &["akId", "akSecret"], Some("bucket"))]
    #[case(OSS, &["bucket", "url"], &["akId"], Some("akSecret"))]
    #[case(OSS, &["bucket", "url"], &["akSecret"], Some("akId"))]
    #[case(NAS, &["server"], &[], None)]
    #[case(NAS, &["accessPoint"], &[], None)]
    #[case(NAS, &["path"], &[], Some("server"))]
    fn missing_attributes_are_named(
        #[case] driver: &str,
        #[case] attributes: &[&str],
        #[case] secrets: &[&str],
        #[case] missing: Option<&str>,
    ) {
        let request = NodePublishVolumeRequest {
            volume_context: map(attributes),
            secrets: map(secrets),
            ..NodePublishVolumeRequest::default()
        };
        let outcome = check_attributes(driver, &request);
        assert_eq!(outcome.as_ref().err().map(ToString::to_string).is_some(), missing.is_some());
        if let (Err(problem), Some(missing)) = (outcome, missing) {
            assert!(problem.to_string().contains(missing), "{problem}");
        }
    }

    #[test]
    fn an_unknown_driver_is_named() {
        let problem = check_driver("csi.example").unwrap_err();
        assert!(problem.to_string().contains("unsupported storage driver \"csi.example\""), "{problem}");
    }
}
