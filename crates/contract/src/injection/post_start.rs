//! Chaining the postStart hook of agent-runtime with the user's (`kubernetes.md` §4.3).

use k8s_openapi::api::core::v1::{Container, ExecAction, LifecycleHandler};

/// Puts the injected hook before the user's: one exec of the injected command, `--`, then the user's. A hook that
/// can't be chained stays, and the clash is reported: envd does not start then.
pub(super) fn chain(main: &mut Container, injected: LifecycleHandler, clashes: &mut Vec<String>) {
    let slot = &mut main.lifecycle.get_or_insert_default().post_start;
    let Some(user) = slot.take() else {
        *slot = Some(injected);
        return;
    };
    let commands = (injected.exec.as_ref().and_then(command), &user.exec);
    *slot = if let (Some(first), Some(exec)) = commands {
        Some(match command(exec) {
            None => injected,
            Some(then) => exec_of(joined(first, then)),
        })
    } else {
        clashes.push(
            "the container has a postStart hook that is no command, the injected one is dropped: envd will not start"
                .to_owned(),
        );
        Some(user)
    };
}

fn command(exec: &ExecAction) -> Option<&Vec<String>> {
    exec.command.as_ref().filter(|command| !command.is_empty())
}

fn joined(first: &[String], then: &[String]) -> Vec<String> {
    let separator = "--".to_owned();
    // a hook that was chained before (a template copied from a pod) is left as it is
    if then.starts_with(first) {
        return then.to_vec();
    }
    first.iter().chain(std::iter::once(&separator)).chain(then).cloned().collect()
}

fn exec_of(command: Vec<String>) -> LifecycleHandler {
    LifecycleHandler { exec: Some(ExecAction { command: Some(command) }), ..LifecycleHandler::default() }
}
