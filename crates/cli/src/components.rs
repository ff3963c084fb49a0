//! The components that this one executable holds; each parses its own arguments.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

type Main = fn(Vec<OsString>) -> ExitCode;

/// Verbs that start a component, and the component's entry point.
const COMPONENTS: [(&str, Main); 6] = [
    ("shim", node_sim::shim::main),
    ("agent-runtime", agent_runtime::main),
    ("csi-node", csi_node::main),
    ("controller", controller::main),
    ("manager", manager::main),
    ("lab-init", lab_embedded::init_main),
];

/// The name under which the storage helper is called inside a sandbox (`storage.md` §4.1).
const STORAGE_HELPER: &str = "sandbox-runtime-storage";

/// Runs the component that `arguments` name, if they name one. Looked at before anything else is parsed: a lab
/// starts dozens of these processes, and each should cost next to nothing.
pub(crate) fn dispatch(arguments: &[OsString]) -> Option<ExitCode> {
    let program = arguments.first()?;
    match Path::new(program).file_name() {
        Some(name) if name == STORAGE_HELPER => return Some(agent_runtime::main(arguments.to_vec())),
        Some(name) if name == lab_kind::oci_runtime::OCI_RUNTIME => {
            return Some(lab_kind::oci_runtime::main(arguments));
        }
        _ => {}
    }
    let verb = arguments.get(1)?;
    let (_, main) = COMPONENTS.iter().find(|(name, _)| verb == name)?;
    let mut rest = vec![program.clone()];
    rest.extend_from_slice(&arguments[2..]);
    Some(main(rest))
}
