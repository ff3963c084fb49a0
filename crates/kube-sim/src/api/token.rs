//! Service account tokens: asking for one (`TokenRequest`), and being known by one.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Call, read};
use crate::caller::Caller;
use crate::error::{ApiError, ApiResult, Cause};
use crate::server::Server;
use crate::state::{PODS, SECRETS, SERVICE_ACCOUNTS, State, seconds};
use crate::store::Address;

/// For whom tokens are when the request doesn't say, and whom this server takes itself for.
const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";
/// How long a token is valid, in seconds, when the request doesn't say.
const DEFAULT_SECONDS: i64 = 3600;
/// The shortest time that may be asked for, in seconds.
const SHORTEST_SECONDS: i64 = 600;
/// The longest time that may be asked for, in seconds.
const LONGEST_SECONDS: i64 = 1 << 32;

/// Answers a `TokenRequest` for the service account that the call names. The token is stored nowhere,
/// and the journal never shows it.
pub(crate) fn request(server: &Server, call: &Call, mut request: Value) -> ApiResult<Value> {
    if !request.is_object() {
        return Err(ApiError::bad_request("the body of the request is not an object"));
    }
    let state = server.state();
    let account = read::get(&state, call)?;
    let name = call.name()?;
    let lifetime = lifetime(&request["spec"]["expirationSeconds"])?;
    let audiences = match request["spec"]["audiences"].as_array() {
        Some(audiences) if !audiences.is_empty() => audiences.clone(),
        _ => vec![AUDIENCE.into()],
    };
    let now = call.now.as_second();
    let expires = call
        .now
        .checked_add(SignedDuration::from_secs(lifetime))
        .map_err(|error| ApiError::bad_request(format!("spec.expirationSeconds: {error}")))?;
    let mut claims = json!({
        "iss": AUDIENCE, "aud": audiences, "iat": now, "nbf": now, "exp": expires.as_second(),
        "jti": crate::state::new_uid(), "sub": user_name(&call.namespace, name),
        "kubernetes.io": {
            "namespace": call.namespace,
            "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]},
        },
    });
    if !request["spec"]["boundObjectRef"].is_null() {
        let (member, bound) = bound(&state, call, &request["spec"]["boundObjectRef"])?;
        claims["kubernetes.io"][member] = bound;
    }
    request["kind"] = "TokenRequest".into();
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    request["spec"]["audiences"] = audiences.into();
    request["spec"]["expirationSeconds"] = lifetime.into();
    let token = server.identity.signer.sign(&claims);
    state.store.conceal(&token);
    request["status"] = json!({"token": token, "expirationTimestamp": seconds(expires)});
    Ok(request)
}

fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

fn invalid(cause: Cause) -> ApiError {
    ApiError::invalid("authentication.k8s.io", "TokenRequest", "", &[cause])
}

fn lifetime(asked: &Value) -> ApiResult<i64> {
    let refused = |detail| Err(invalid(Cause::invalid("spec.expirationSeconds", asked, detail)));
    match asked.as_i64() {
        None if asked.is_null() => Ok(DEFAULT_SECONDS),
        None => refused("must be a number of seconds"),
        Some(lifetime) if lifetime < SHORTEST_SECONDS => {
            refused("may not specify a duration less than 10 minutes")
        }
        Some(lifetime) if lifetime > LONGEST_SECONDS => {
            refused("may not specify a duration larger than 2^32 seconds")
        }
        Some(lifetime) => Ok(lifetime),
    }
}

/// The object that a token lives and dies with, as a claim: its member, and its name and uid.
fn bound(state: &State, call: &Call, reference: &Value) -> ApiResult<(&'static str, Value)> {
    let (collection, plural, member) = match reference["kind"].as_str().unwrap_or_default() {
        "Pod" => (PODS, "pods", "pod"),
        "Secret" => (SECRETS, "secrets", "secret"),
        _ => {
            let kinds = ["Pod", "Secret"].map(Value::from);
            let cause = Cause::unsupported("spec.boundObjectRef.kind", &reference["kind"], &kinds);
            return Err(invalid(cause));
        }
    };
    let name = reference["name"].as_str().unwrap_or_default();
    let object = state
        .store
        .get(&address(collection, &call.namespace, name))
        .ok_or_else(|| ApiError::not_found("", plural, name))?;
    let uid = &object["metadata"]["uid"];
    let asked = reference["uid"].as_str().unwrap_or_default();
    if !asked.is_empty() && *uid != asked {
        let why = format!("the UID in the bound object reference ({asked}) does not match the UID in record");
        return Err(ApiError::conflict("", plural, name, &why));
    }
    let account = call.name()?;
    if member == "pod" && object["spec"]["serviceAccountName"].as_str().unwrap_or("default") != account {
        return Err(ApiError::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    Ok((member, json!({"name": name, "uid": uid})))
}

fn address(collection: &str, namespace: &str, name: &str) -> Address {
    Address { collection: collection.into(), namespace: namespace.to_owned(), name: name.to_owned() }
}

/// Whose service account token an `Authorization` header carries; nothing when the token is not of this server, not
/// for it, expired, or when its account or the object that it is bound to is gone.
pub(crate) fn authenticate(server: &Server, authorization: &str) -> Option<Caller> {
    let claims = server.identity.signer.read(authorization.strip_prefix("Bearer ")?)?;
    if !is_valid_now(&claims, server.now()) {
        return None;
    }
    let about = &claims["kubernetes.io"];
    let (namespace, name) = (about["namespace"].as_str()?, about["serviceaccount"]["name"].as_str()?);
    let state = server.state();
    let all_there = [(SERVICE_ACCOUNTS, "serviceaccount"), (PODS, "pod"), (SECRETS, "secret")].iter().all(
        |(collection, member)| {
            let object = &about[*member];
            let name = object["name"].as_str().unwrap_or_default();
            object.is_null()
                || state
                    .store
                    .get(&address(collection, namespace, name))
                    .is_some_and(|found| found["metadata"]["uid"] == object["uid"])
        },
    );
    all_there.then(|| Caller::service_account(namespace, name))
}

fn is_valid_now(claims: &Value, now: Timestamp) -> bool {
    let time = |name: &str| claims[name].as_i64();
    let for_this_server =
        claims["aud"].as_array().is_some_and(|audiences| audiences.iter().any(|one| one == AUDIENCE));
    let now = now.as_second();
    for_this_server
        && time("nbf").is_some_and(|begin| begin <= now)
        && time("exp").is_some_and(|end| now < end)
}
