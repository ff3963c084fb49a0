//! What happens to every call: named, struck by faults, carried out, told to the journal.

use std::sync::Arc;

use nfs3_types::nfs3::nfsstat3;

use crate::account::Account;
use crate::fault::Faults;
use crate::handle::stable_hash;
use crate::procedures::{self, Answer, Request};
use crate::repeated::{self, Key, Repeated, Seen};
use crate::rpc::{self, Call, NotACall, Refusal};
use crate::server::State;
use crate::{mount, portmap};

/// Carries calls out; shared by all connections.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) state: Arc<State>,
    pub(crate) faults: Faults,
    pub(crate) repeated: Repeated,
}

/// What a connection does after a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Sends this.
    Answer(Vec<u8>),
    /// Sends nothing.
    Silence,
    /// Ends.
    Close,
}

impl Service {
    /// Answers one call. `port` is the one that NFS and MOUNT are on.
    pub(crate) async fn answer(
        self: Arc<Self>,
        message: Vec<u8>,
        account: Arc<Account>,
        port: u16,
        with_faults: bool,
    ) -> Outcome {
        let procedure = match rpc::read_call(&message) {
            Ok((call, _)) => name_of(&call),
            Err(NotACall::Garbage) => return Outcome::Close,
            Err(NotACall::Refused(id, refusal)) => return Outcome::Answer(rpc::refuse(id, refusal)),
        };
        account.count(procedure);
        self.state.count(procedure);
        let mut answer = None;
        if with_faults {
            let mut strike = self.faults.strike(procedure);
            strike.delay().await;
            if strike.drop_connection {
                return Outcome::Close;
            }
            answer = strike.answer;
        }
        let work = move || self.carry_out(&message, &account, port, answer);
        tokio::task::spawn_blocking(work).await.unwrap_or(Outcome::Close)
    }

    fn carry_out(&self, message: &[u8], account: &Account, port: u16, fault: Option<u32>) -> Outcome {
        // A restart waits for the calls that are at work, and those that come meanwhile for it.
        let _alive = self.state.alive();
        let Ok((call, arguments)) = rpc::read_call(message) else { return Outcome::Close };
        let version = match call.program {
            procedures::PROGRAM => procedures::VERSION,
            mount::PROGRAM => mount::VERSION,
            portmap::PROGRAM => portmap::VERSION,
            _ => return Outcome::Answer(rpc::refuse(call.id, Refusal::Program)),
        };
        if call.version != version {
            return Outcome::Answer(rpc::refuse(call.id, Refusal::ProgramVersion(version)));
        }
        let answer = match call.program {
            procedures::PROGRAM => return self.nfs(&call, arguments, account, fault),
            mount::PROGRAM => match fault {
                Some(status) if name_of(&call) == "MNT" => {
                    mount::refused_mount(account, call.id, arguments, status)
                }
                _ => mount::call(&self.state, account, call.id, call.procedure, arguments),
            },
            _ => portmap::call(call.id, call.procedure, arguments, port),
        };
        Outcome::Answer(answer.unwrap_or_else(|refusal| rpc::refuse(call.id, refusal)))
    }

    fn nfs(&self, call: &Call, arguments: &[u8], account: &Account, fault: Option<u32>) -> Outcome {
        let request = Request::new(&self.state, &call.credentials);
        let key = Key {
            client: account.client(),
            id: call.id,
            procedure: call.procedure,
            arguments: stable_hash(arguments),
        };
        let matters = fault.is_none() && repeated::matters(call.procedure);
        if matters {
            match self.repeated.begin(key) {
                Seen::Never => {}
                Seen::AtWork => return Outcome::Silence,
                Seen::Answered(answer) => return Outcome::Answer(answer),
            }
        }
        let done = match fault {
            Some(status) if call.procedure != 0 => procedures::error(call.id, call.procedure, status),
            _ => procedures::call(&request, call.id, call.procedure, arguments),
        };
        let bytes = match done {
            Ok(Answer { bytes, status }) => {
                note(account, call, status, fault, || request.subject());
                bytes
            }
            Err(refusal) => rpc::refuse(call.id, refusal),
        };
        if matters {
            self.repeated.end(key, &bytes);
        }
        Outcome::Answer(bytes)
    }
}

/// Tells the journal of an error, unless it is one that comes with everyday use.
fn note(
    account: &Account,
    call: &Call,
    status: Option<nfsstat3>,
    fault: Option<u32>,
    subject: impl FnOnce() -> String,
) {
    use nfsstat3::{NFS3_OK, NFS3ERR_EXIST, NFS3ERR_NOENT, NFS3ERR_NOTEMPTY};
    let error = match status {
        Some(NFS3_OK | NFS3ERR_EXIST | NFS3ERR_NOENT | NFS3ERR_NOTEMPTY) => return,
        Some(status) => status.to_string(),
        None => format!("fault {}", fault.unwrap_or_default()),
    };
    account.error(procedures::name(call.procedure), &error, subject, call.credentials.uid);
}

fn name_of(call: &Call) -> &'static str {
    match call.program {
        procedures::PROGRAM => procedures::name(call.procedure),
        mount::PROGRAM => mount::name_of(call.procedure),
        portmap::PROGRAM => portmap::name_of(call.procedure),
        _ => "?",
    }
}
