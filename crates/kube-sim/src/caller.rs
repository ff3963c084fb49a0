//! Who calls.

use http::HeaderMap;
use serde_json::{Value, json};

use crate::error::{ApiError, ApiResult};

/// The user that a request comes from unless it says or proves otherwise.
const ADMINISTRATOR: &str = "mountlab-admin";
const AUTHENTICATED: &str = "system:authenticated";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const IMPERSONATE_USER: &str = "impersonate-user";
const IMPERSONATE_GROUP: &str = "impersonate-group";

/// Who a request comes from: what admission policies see as `request.userInfo`. Nobody's rights depend on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    name: String,
    groups: Vec<String>,
}

impl Caller {
    /// Whoever holds the server's own token, or calls from inside and says nothing else.
    pub fn administrator() -> Self {
        Self::new(ADMINISTRATOR, &["system:masters"])
    }

    /// A service account.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let of_namespace = format!("system:serviceaccounts:{namespace}");
        Self::new(&format!("{SERVICE_ACCOUNT}{namespace}:{name}"), &["system:serviceaccounts", &of_namespace])
    }

    /// The kubelet of a node.
    pub fn node(name: &str) -> Self {
        Self::new(&format!("system:node:{name}"), &["system:nodes"])
    }

    /// The controller that deletes what nobody owns any more, and what is in a namespace that goes.
    pub(crate) fn garbage_collector() -> Self {
        Self::service_account("kube-system", "generic-garbage-collector")
    }

    fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().copied().chain([AUTHENTICATED]).map(str::to_owned).collect();
        Self { name: name.to_owned(), groups }
    }

    /// The caller as whom this one asks to be taken (`kubectl --as`); itself if it asks for nothing.
    ///
    /// # Errors
    /// 403 for whoever isn't an administrator; 400 for a header that is no text or groups without a user.
    pub(crate) fn impersonating(self, headers: &HeaderMap) -> ApiResult<Self> {
        let text = |value: &http::HeaderValue| {
            value
                .to_str()
                .map(str::to_owned)
                .map_err(|_| ApiError::bad_request("an Impersonate header is no text"))
        };
        let groups: Vec<String> =
            headers.get_all(IMPERSONATE_GROUP).iter().map(text).collect::<ApiResult<_>>()?;
        let Some(name) = headers.get(IMPERSONATE_USER).map(text).transpose()? else {
            return match groups.as_slice() {
                [] => Ok(self),
                _ => {
                    Err(ApiError::bad_request("requested groups to impersonate without impersonating a user"))
                }
            };
        };
        if self != Self::administrator() {
            let why = format!(
                "User {:?} cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
                self.name
            );
            return Err(ApiError::forbidden("", "users", &name, &why));
        }
        let account = name.strip_prefix(SERVICE_ACCOUNT).and_then(|account| account.split_once(':'));
        Ok(match account {
            Some((namespace, account)) if groups.is_empty() => Self::service_account(namespace, account),
            _ => Self::new(&name, &groups.iter().map(String::as_str).collect::<Vec<_>>()),
        })
    }

    /// As reviews and policies show it.
    pub(crate) fn user_info(&self) -> Value {
        json!({"username": self.name, "groups": self.groups})
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nobody_else(&[], "mountlab-admin", &["system:masters", "system:authenticated"])]
    #[case::a_user(&[("impersonate-user", "jane"), ("impersonate-group", "dev")], "jane", &["dev", "system:authenticated"])]
    #[case::a_service_account(
        &[("impersonate-user", "system:serviceaccount:default:robot")],
        "system:serviceaccount:default:robot",
        &["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    )]
    fn an_administrator_is_taken_for_whom_it_likes(
        #[case] headers: &[(&'static str, &'static str)],
        #[case] name: &str,
        #[case] groups: &[&str],
    ) {
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        });
        let caller = Caller::administrator().impersonating(&headers.collect()).expect("it may");
        assert_eq!(caller.user_info(), json!({"username": name, "groups": groups}));
    }

    #[test]
    fn nobody_else_is() {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("impersonate-user"),
            http::HeaderValue::from_static("jane"),
        )]);
        let refused =
            Caller::service_account("default", "robot").impersonating(&headers).expect_err("refused");
        assert_eq!(refused.code, 403);
        let groups = HeaderMap::from_iter([(
            http::HeaderName::from_static("impersonate-group"),
            http::HeaderValue::from_static("dev"),
        )]);
        assert_eq!(Caller::administrator().impersonating(&groups).expect_err("no user").code, 400);
    }
}
