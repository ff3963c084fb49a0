//! The drivers that may mount (`storage.md` §2.2).

use crate::errors::{Code, Problem};
use crate::names::drivers;

/// Allowed drivers; by default the two of the product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverList {
    drivers: Vec<String>,
}

impl Default for DriverList {
    fn default() -> Self {
        Self { drivers: vec![drivers::NAS.to_owned(), drivers::OSS.to_owned()] }
    }
}

impl DriverList {
    /// Splits a comma-separated list, trims blanks, drops empty items and repetitions.
    pub fn parse(list: &str) -> Self {
        let mut drivers: Vec<String> = Vec::new();
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            if !drivers.iter().any(|known| known == item) {
                drivers.push(item.to_owned());
            }
        }
        Self { drivers }
    }

    /// The list in an environment variable's value; the default when it is not set or names nothing.
    pub fn from_variable(value: Option<&str>) -> Self {
        let parsed = Self::parse(value.unwrap_or_default());
        if parsed.drivers.is_empty() { Self::default() } else { parsed }
    }

    /// Whether `driver` is allowed; letter case counts.
    pub fn contains(&self, driver: &str) -> bool {
        self.drivers.iter().any(|known| known == driver)
    }

    /// The drivers in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.drivers.iter().map(String::as_str)
    }

    pub(super) fn check(&self, driver: &str) -> Result<(), Problem> {
        if self.contains(driver) {
            return Ok(());
        }
        Err(Problem::new(
            Code::DriverNotSupported,
            format!(
                "driver {driver} is not supported in current environment, supported: {}",
                self.drivers.join(", ")
            ),
        ))
    }
}
