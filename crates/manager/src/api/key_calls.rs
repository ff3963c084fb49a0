//! API keys and teams (`e2b-api.md` §5).

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use contract::errors::Code;
use http::StatusCode;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::RawBody;
use crate::error::ApiError;
use crate::keys::record::{KeyRecord, Quota};
use crate::keys::{ADMIN_ID, ADMIN_TEAM, ADMIN_TEAM_ID, Caller, wrapped};
use crate::manager::Manager;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewKey {
    name: String,
    #[serde(default)]
    team_name: Option<String>,
    #[serde(default)]
    quota: Option<Quota>,
}

/// `GET /teams`
pub(crate) async fn teams(State(manager): State<Manager>, caller: Caller) -> Json<Vec<Value>> {
    let mut teams: BTreeSet<String> = BTreeSet::from([caller.team.clone()]);
    if caller.is_admin() {
        teams.extend(manager.shared.keys.records().into_iter().map(|record| record.team));
    }
    let shown = teams.into_iter().map(|team| {
        json!({"teamID": team_id(&team), "name": team, "apiKey": "", "isDefault": team == caller.team})
    });
    Json(shown.collect())
}

/// `GET /api-keys`: the caller's team only, never the keys themselves.
pub(crate) async fn list(State(manager): State<Manager>, caller: Caller) -> Json<Vec<Value>> {
    let records = manager.shared.keys.records().into_iter().filter(|record| record.team == caller.team);
    Json(records.map(|record| shown(&record)).collect())
}

/// `POST /api-keys`
pub(crate) async fn create(
    State(manager): State<Manager>,
    caller: Caller,
    body: RawBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body: NewKey = body.read()?;
    if body.name.trim().is_empty() {
        return Err(ApiError::bad_request("the key's name is empty"));
    }
    let team = body.team_name.filter(|team| !team.is_empty()).unwrap_or_else(|| caller.team.clone());
    if !caller.is_admin() && (team != caller.team || body.quota.is_some()) {
        let message = "only the admin team may make keys for other teams or set a quota";
        return Err(ApiError::new(Code::Forbidden, message));
    }
    if body.quota.as_ref().is_some_and(|quota| !quota.is_unambiguous()) {
        return Err(ApiError::bad_request("quota: a dimension and scope is limited twice"));
    }
    check_team(&manager, &team).await?;
    let record = KeyRecord {
        id: uuid::Uuid::new_v4().to_string(),
        name: body.name,
        team,
        created_at: manager.now().to_string(),
        created_by: Some(caller.id),
        quota: body.quota.filter(|quota| !quota.limits.is_empty()),
        key: uuid::Uuid::new_v4().to_string(),
    };
    if let Some(journal) = &manager.shared.options.journal {
        journal.conceal(&record.key);
        journal.conceal(&wrapped::wrap(&record.key));
    }
    let stored = manager.shared.keys.add(&record).await;
    stored.map_err(|error| ApiError::kubernetes("store the API key", &error))?;
    let mut answer = shown(&record);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("key".to_owned(), wrapped::wrap(&record.key).into());
        answer.insert("team".to_owned(), json!({"id": team_id(&record.team), "name": record.team}));
    }
    Ok((StatusCode::CREATED, Json(answer)))
}

/// `DELETE /api-keys/{id}`
pub(crate) async fn delete(
    State(manager): State<Manager>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    if id == ADMIN_ID {
        return Err(ApiError::new(
            Code::Forbidden,
            "the admin key is set by the operator and cannot be deleted",
        ));
    }
    let record = manager.shared.keys.record(&id);
    let record = record.ok_or_else(|| ApiError::new(Code::NotFound, format!("API key {id:?} not found")))?;
    if !caller.sees(&record.team) {
        return Err(ApiError::new(Code::Forbidden, "the API key belongs to another team"));
    }
    let removed = manager.shared.keys.remove(&id).await;
    removed.map_err(|error| ApiError::kubernetes("delete the API key", &error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api-keys/compatible`: the caller's own key in wrapped form.
pub(crate) async fn compatible(
    State(manager): State<Manager>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let key = if caller.id == ADMIN_ID {
        Some(manager.shared.options.admin_key.clone())
    } else {
        manager.shared.keys.record(&caller.id).map(|record| record.key)
    };
    let key = key.ok_or_else(|| ApiError::new(Code::NotFound, "the API key was deleted meanwhile"))?;
    Ok(Json(json!({"key": wrapped::wrap(&key)})))
}

/// A team other than the admins' is a namespace that exists and fits into a sandbox id.
async fn check_team(manager: &Manager, team: &str) -> Result<(), ApiError> {
    if team == ADMIN_TEAM {
        return Ok(());
    }
    if team.contains("--") || !contract::extensions::is_dns_label(team) {
        return Err(ApiError::bad_request(format!("team {team:?} is no namespace name without --")));
    }
    let namespaces: Api<Namespace> = Api::all(manager.shared.options.client.clone());
    let found =
        namespaces.get_opt(team).await.map_err(|error| ApiError::kubernetes("look up the team", &error))?;
    found
        .map(drop)
        .ok_or_else(|| ApiError::bad_request(format!("team {team:?}: there is no namespace of that name")))
}

/// The admin team has a fixed id; every other team is known by its namespace.
fn team_id(team: &str) -> &str {
    if team == ADMIN_TEAM { ADMIN_TEAM_ID } else { team }
}

fn shown(record: &KeyRecord) -> Value {
    let mut shown = json!({
        "id": record.id,
        "name": record.name,
        "createdAt": record.created_at,
        "createdBy": record.created_by.as_ref().map(|id| json!({"email": "", "id": id})),
        "lastUsed": null,
        "mask": {"maskedValuePrefix": "", "maskedValueSuffix": "", "prefix": "", "valueLength": 0},
    });
    if let (Some(quota), Some(shown)) = (&record.quota, shown.as_object_mut()) {
        shown.insert("quota".to_owned(), json!(quota));
    }
    shown
}
