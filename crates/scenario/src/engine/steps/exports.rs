//! The step at the NFS server, from its own side.

use lab::{ExportCall, ExportReply};
use serde_json::{Value, json};

use super::super::context::{Context, StepError};
use super::Outcome;
use crate::model::NasStep;

/// Does what the step says.
pub(super) async fn act(context: &Context<'_>, step: &NasStep) -> Result<Outcome, StepError> {
    let reply = context.lab.at_exports(call(context, step)?).await;
    Ok(told(reply.map_err(|error| StepError::of(&error))?))
}

fn call(context: &Context<'_>, step: &NasStep) -> Result<ExportCall, StepError> {
    let fill = |text: &Option<String>| text.as_deref().map(|text| context.fill(text)).transpose();
    let content = fill(&step.content)?.unwrap_or_default();
    let to = fill(&step.to)?.unwrap_or_default();
    let options = step.options.unwrap_or_default();
    let calls = [
        fill(&step.get)?.map(|path| ExportCall::Get { path }),
        fill(&step.look)?.map(|path| ExportCall::Look { path }),
        fill(&step.list)?.map(|path| ExportCall::List { path }),
        fill(&step.put)?.map(|path| ExportCall::Put { path, content }),
        fill(&step.directory)?.map(|path| ExportCall::MakeDirectory { path }),
        fill(&step.symlink)?.map(|path| ExportCall::Symlink { path, to }),
        fill(&step.delete)?.map(|path| ExportCall::Delete { path }),
        fill(&step.export)?.map(|path| ExportCall::Export { path, options }),
    ];
    calls.into_iter().flatten().next().ok_or_else(|| StepError("the step says nothing to do".to_owned()))
}

fn told(reply: ExportReply) -> Outcome {
    let value = match reply {
        ExportReply::Done => json!({}),
        ExportReply::Content(content) => json!({ "content": content }),
        ExportReply::Entries(entries) => {
            let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
            json!({ "paths": paths, "entries": entries, "entry": entries.first() })
        }
        ExportReply::Refused { code, message } => {
            let trouble = format!("the NFS server answered {code}: {message}");
            let value = json!({ "code": code, "message": message });
            return Outcome { value, trouble: Some(trouble) };
        }
    };
    Outcome::success(value)
}

/// What the reply's refusal says, for calls that must not be refused.
pub(crate) fn accept(doing: &str, reply: ExportReply) -> Result<Value, StepError> {
    let Outcome { value, trouble } = told(reply);
    trouble.map_or(Ok(value), |trouble| Err(StepError(format!("{doing}: {trouble}"))))
}
