//! Steps that run a program outside the lab.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Period, Step};

/// Which of the official Python SDKs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SdkGeneration {
    /// `e2b-code-interpreter` 2.11.5 with `e2b` 2.63.0.
    #[default]
    Current,
    /// `e2b-code-interpreter` 2.4.1 with `e2b` 2.20.0, which still has `beta_create`.
    BetaCreate,
}

/// A Python program; exactly one of `script` and `code`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PythonStep {
    /// A file below `fixtures/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// The program itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Which SDK; absent means the current one.
    #[serde(default)]
    pub sdk: SdkGeneration,
    /// Environment on top of `E2B_*`, `OSS_*` and `NAS_*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The program is killed after this time; absent means the limit `step`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
}

/// A JavaScript program; exactly one of `script` and `code`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JavaScriptStep {
    /// A file below `fixtures/`; an ES module is called `.mjs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// The program itself, an ES module: it may `import`, and `await` at its top level. What begins with a blank, as in
    /// `${ error.message }`, is left to JavaScript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Environment on top of `E2B_*`, `OSS_*` and `NAS_*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The program is killed after this time; absent means the limit `step`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
}

/// A command outside the lab.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShellStep {
    /// Name by which later steps call its outcome, as in `${name.stdout}`.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A line for `sh -c`, with `E2B_*`, `OSS_*`, `NAS_*` and `KUBECONFIG` in its environment.
    pub command: String,
    /// The command is killed after this time; absent means the limit `step`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
}

/// A kubectl command.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubectlStep {
    /// Name by which later steps call its outcome, as in `${name.stdout}`.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The arguments, one item each: `[get, sandbox, -o, wide]`.
    pub arguments: Vec<String>,
    /// What kubectl reads from its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// The command is killed after this time; absent means the limit `step`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
}

/// A program of the user's that a step runs with the SDK of its language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserProgram<'a> {
    /// The step's action.
    pub(crate) action: &'static str,
    pub(crate) script: Option<&'a String>,
    pub(crate) code: Option<&'a String>,
}

impl Step {
    /// The program that the step runs, if it is of a language with an SDK.
    pub(crate) fn user_program(&self) -> Option<UserProgram<'_>> {
        let python = self.python.as_ref().map(|step| ("python", &step.script, &step.code));
        let javascript = || self.javascript.as_ref().map(|step| ("javascript", &step.script, &step.code));
        let (action, script, code) = python.or_else(javascript)?;
        Some(UserProgram { action, script: script.as_ref(), code: code.as_ref() })
    }
}
