//! `docs/scenarios.md`, made from the schema, so that it can't tell something else than the program does.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::matching::MATCHERS;
use crate::schema::schema;

const HEAD: &str = "# Scenario files\n\n\
Generated from the types in `crates/scenario/src/model`; a test compares. Change the types, then run \
`UPDATE_DOCS=1 cargo test -p scenario --test reference_page`.\n\n\
A file holds one or more YAML 1.2 documents, each a scenario. `mountlab check` reads them without running anything; \
an unknown field, a wrong type, a misspelt matcher, an unused fixture, an unknown reference or a scenario that expects \
nothing is refused with its place and the nearest name. `mountlab schema` prints the JSON Schema for editors.\n";

const EXPECTATIONS: &str = "\n## Comparing\n\n\
A mapping in `expect` is compared member by member, and further members are allowed. A list is compared item by item and has to \
have the same length. Numbers are compared by value. Where a value alone doesn't say it, a mapping of matchers does; all of them \
have to hold:\n\n\
| Matcher | Holds when |\n|---|---|\n\
| `absent: true` | there is nothing, or null; `false`: there is something |\n\
| `contains: X` | a text has the part X, or a list an item that compares with X; a list of parts asks for each |\n\
| `startsWith: X`, `endsWith: X` | a text begins or ends so |\n\
| `matches: X` | the regular expression is found in the text |\n\
| `oneOf: [X, …]` | one of them compares |\n\
| `greaterThan: N`, `lessThan: N` | a number is |\n\
| `length: N` | a text, list or mapping has that length; N may be a matcher |\n\
| `exactly: X` | the value is X and has nothing more |\n\
| `not: X` | X does not compare |\n\n\
A step without `expect` has to succeed. So does one whose `expect` says nothing of `status`, `code`, `message`, `exitCode`, `error` or `answered`. \
`answered: false` holds of a request to the E2B API that nobody answered: the connection was refused or broke, or a gateway before it says 502.\n\n\
`${name.field}` in any text of a step stands for a part of what the step of that name gave: `${sbx.id}`, `${sbx.pod}`, \
`${sbx.namespace}` of a sandbox, the outcome's members of `run`, `get`, `shell` and `kubectl`. `${lab.e2bUrl}`, `${lab.e2bDomain}`, `${lab.kubeconfig}`, \
`${oss.bucket}`, `${oss.endpoint}`, `${oss.insideEndpoint}`, `${oss.insideHost}`, `${oss.region}`, `${oss.accessKeyId}`, \
`${nas.server}`, `${nas.outsideServer}` and `${nas.outsidePort}` are always there. A name without a \
dot, such as `${HOME}`, is left to the shell.\n\n\
Programs outside the lab (`python`, `javascript`, `shell`, `kubectl`) get `E2B_API_URL`, `E2B_SANDBOX_URL`, `E2B_DOMAIN`, `E2B_API_KEY`, `KUBECONFIG`, \
`OSS_ENDPOINT`, `OSS_REGION`, `OSS_BUCKET`, `OSS_ACCESS_KEY_ID`, `OSS_ACCESS_KEY_SECRET`, `NAS_SERVER`, \
`NAS_PORT`, `NAS_MOUNT_PORT` and `NAS_PATH_PREFIX` (as reached from outside; the prefix stands for the first slash of an export's path), and of our own environment only `PATH`, `HOME` and \
the language.\n";

/// The reference of scenario files as Markdown.
pub fn reference_page() -> String {
    let schema = schema().to_value();
    let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut page = HEAD.to_owned();
    section(&mut page, "Scenario", &schema);
    for name in ["Metadata", "Storage", "ExportOptions", "ExportAccess", "Squash", "Limits", "Capability"] {
        named(&mut page, name, &definitions);
    }
    steps(&mut page, &definitions);
    page.push_str(EXPECTATIONS);
    debug_assert!(MATCHERS.iter().all(|matcher| EXPECTATIONS.contains(matcher)));
    page.push_str("\n## Asking the journal\n");
    for name in ["Pattern", "EventPattern", "Eventually", "Holds", "Count", "Order", "PoolExpectation"] {
        named(&mut page, name, &definitions);
    }
    page.push_str("\n## Faults\n");
    let faults = [
        "OssFault",
        "CapacityFault",
        "NasFault",
        "CsiFault",
        "CsiCall",
        "CsiEffect",
        "CsiCode",
        "KillFault",
        "Component",
    ];
    for name in faults {
        named(&mut page, name, &definitions);
    }
    page
}

fn steps(page: &mut String, definitions: &Map<String, Value>) {
    let Some(step) = definitions.get("Step") else { return };
    page.push_str("\n## Steps\n");
    let _ = writeln!(page, "\n{}\n", description(step));
    page.push_str("| Member | What it does |\n|---|---|\n");
    let members = step.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, member) in &members {
        let _ = writeln!(page, "| `{key}` | {} |", cell(&description(member)));
    }
    for (key, member) in &members {
        let Some(definition) = target(member).and_then(|name| definitions.get(name)) else { continue };
        if definition.get("properties").is_some() && !["eventually", "holds"].contains(&key.as_str()) {
            let _ = writeln!(page, "\n### {key}");
            table(page, definition);
        }
    }
    for name in ["ObjectReference", "BodyMount", "NetworkLists", "SdkGeneration"] {
        named(page, name, definitions);
    }
}

fn named(page: &mut String, name: &str, definitions: &Map<String, Value>) {
    if let Some(definition) = definitions.get(name) {
        section(page, name, definition);
    }
}

fn section(page: &mut String, name: &str, definition: &Value) {
    let level = if name == "Scenario" { "##" } else { "###" };
    let _ = writeln!(page, "\n{level} {name}\n\n{}", description(definition));
    table(page, definition);
    for choice in definition.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        let value = choice.get("const").map(Value::to_string).unwrap_or_default();
        let _ = writeln!(page, "\n- `{value}`: {}", description(choice));
    }
}

fn table(page: &mut String, definition: &Value) {
    let Some(members) = definition.get("properties").and_then(Value::as_object) else { return };
    let required: Vec<&str> = definition
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    page.push_str("\n| Member | Type | Meaning |\n|---|---|---|\n");
    for (key, member) in members {
        let needed = if required.contains(&key.as_str()) { ", required" } else { "" };
        let _ = writeln!(page, "| `{key}` | {}{needed} | {} |", kind(member), cell(&meaning(member)));
    }
}

fn meaning(member: &Value) -> String {
    let words = description(member);
    match member.get("default") {
        Some(default) if default.is_string() || default.is_boolean() => {
            format!("{words} Default: `{}`.", default.to_string().trim_matches('"'))
        }
        _ => words,
    }
}

fn kind(member: &Value) -> String {
    match target(member) {
        Some("Period") => return "length of time".to_owned(),
        Some("ApiVersion" | "Kind") => return "text".to_owned(),
        Some("Expect") => return "see [comparing](#comparing)".to_owned(),
        Some("Step") => return "[step](#steps)".to_owned(),
        Some("Fault") => {
            return "`oss`: [OssFault](#ossfault), `ossCapacity`: [CapacityFault](#capacityfault), \
                `nas`: [NasFault](#nasfault), `csi`: [CsiFault](#csifault), or `kill`: [KillFault](#killfault)"
                .to_owned();
        }
        Some(name) => return format!("[{name}](#{})", name.to_lowercase()),
        None => {}
    }
    let name = match member.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("any")
        }
        _ => "any",
    };
    match name {
        "array" => {
            let item = member.get("items").map_or_else(|| "any".to_owned(), kind);
            format!("list of {item}")
        }
        "object" => match member.get("additionalProperties").filter(|item| item.is_object()) {
            Some(item) => format!("mapping to {}", kind(item)),
            None => "mapping".to_owned(),
        },
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        other => other.to_owned(),
    }
}

/// The definition that a member refers to.
fn target(member: &Value) -> Option<&str> {
    let direct = member.get("$ref").and_then(Value::as_str);
    let choice = || {
        let choices = member.get("anyOf").and_then(Value::as_array)?;
        choices.iter().find_map(|choice| choice.get("$ref").and_then(Value::as_str))
    };
    direct.or_else(choice).and_then(|path| path.rsplit('/').next())
}

fn description(value: &Value) -> String {
    value.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
