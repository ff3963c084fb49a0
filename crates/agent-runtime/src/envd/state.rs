//! What envd knows while it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::Options;
use super::accounts::{Account, Accounts};
use super::filesystem::Watchers;
use super::metrics::Processor;
use super::process::Processes;
use crate::storage::Agent;

/// envd, shared by its handlers.
pub(crate) type SharedEnvd = Arc<Envd>;

/// Everything the handlers need.
pub(crate) struct Envd {
    pub(crate) options: Options,
    pub(crate) accounts: Accounts,
    pub(crate) processes: Processes,
    pub(crate) processor: Processor,
    pub(crate) storage: Arc<Agent>,
    pub(crate) watchers: Watchers,
    identity: Mutex<Identity>,
}

/// What `/init` sets.
#[derive(Default)]
pub(crate) struct Identity {
    /// The access token, once there is one.
    pub(crate) token: Option<String>,
    /// The default environment of commands.
    pub(crate) environment: BTreeMap<String, String>,
    /// The user to act as when a call names nobody.
    pub(crate) default_user: Option<String>,
    /// The directory meant by an empty path.
    pub(crate) default_workdir: Option<PathBuf>,
    /// The timestamp of the latest `/init` that was applied.
    pub(crate) applied: Option<Timestamp>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("has_token", &self.token.is_some())
            .field("variables", &self.environment.len())
            .field("default_user", &self.default_user)
            .field("default_workdir", &self.default_workdir)
            .finish_non_exhaustive()
    }
}

/// Why nobody can be acted as.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    #[error("there is no user {0:?}")]
    Unknown(String),
    #[error("cannot read the user accounts: {0}")]
    Unreadable(#[from] io::Error),
}

impl Envd {
    pub(crate) fn new(options: Options) -> SharedEnvd {
        let accounts = Accounts::new(options.accounts.clone());
        let storage = Arc::new(Agent::new(options.storage.clone()));
        Arc::new(Self {
            accounts,
            storage,
            processes: Processes::default(),
            processor: Processor::default(),
            watchers: Watchers::default(),
            identity: Mutex::new(Identity::default()),
            options,
        })
    }

    /// What `/init` has set; don't hold it across a wait.
    pub(crate) fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory meant by an empty path.
    pub(crate) fn workdir(&self) -> Option<PathBuf> {
        self.identity().default_workdir.clone()
    }

    /// The default environment of commands.
    pub(crate) fn default_environment(&self) -> BTreeMap<String, String> {
        let outside = BTreeMap::from([("E2B_SANDBOX".to_owned(), "false".to_owned())]);
        outside.into_iter().chain(self.identity().environment.clone()).collect()
    }

    /// The account to act as: the one called `name`, or the default one.
    pub(crate) fn account(&self, name: Option<&str>) -> Result<Account, AccountError> {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            return self.accounts.find(name)?.ok_or_else(|| AccountError::Unknown(name.into()));
        }
        let chosen = self.identity().default_user.clone();
        if let Some(name) = chosen {
            return self.accounts.find(&name)?.ok_or(AccountError::Unknown(name));
        }
        match self.accounts.find(&self.options.default_user)? {
            Some(account) => Ok(account),
            None => self.own_account(),
        }
    }

    /// The account that envd itself runs as: the default where the usual one could not be made.
    fn own_account(&self) -> Result<Account, AccountError> {
        let uid = nix::unistd::geteuid().as_raw();
        let gid = nix::unistd::getegid().as_raw();
        let nameless = Account { name: uid.to_string(), uid, gid, home: "/".into(), groups: vec![gid] };
        Ok(self.accounts.find_uid(uid)?.unwrap_or(nameless))
    }
}
