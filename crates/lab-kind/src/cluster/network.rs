//! The cluster's network. Its subnet is said to Docker, which then lets addresses be asked for: a server that is stopped and
//! started again has to be where it was, as volumes name its address.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::LABEL;
use crate::KindError;
use crate::docker::Docker;

/// Marks a network whose addresses can be asked for.
const ASKED: &str = "mountlab.dev/addresses=asked";

/// Makes the network, unless it is there. Docker chooses the subnet, as it knows what is free, and is told its own choice.
pub(crate) async fn ensure(docker: &Docker, network: &str, owner: &str) -> Result<(), KindError> {
    if docker.inspect("network", network).await?.is_some() {
        return Ok(());
    }
    create(docker, network, owner, &[]).await?;
    let chosen = docker.inspect("network", network).await?.unwrap_or_default();
    let (Some(subnet), Some(gateway)) = (subnet(&chosen), gateway(&chosen)) else { return Ok(()) };
    docker
        .command(format!("making network {network} anew"))
        .args(["network", "rm", network])
        .output()
        .await?;
    // Somebody may have taken it meanwhile: then Docker chooses another one, and addresses can't be asked for.
    let asked = ["--subnet", &subnet, "--gateway", &gateway, "--label", ASKED];
    match create(docker, network, owner, &asked).await {
        Ok(()) => Ok(()),
        Err(_) => create(docker, network, owner, &[]).await,
    }
}

async fn create(docker: &Docker, network: &str, owner: &str, more: &[&str]) -> Result<(), KindError> {
    docker
        .command(format!("making network {network}"))
        .args(["network", "create", "--driver", "bridge", "--label", &format!("{LABEL}={owner}")])
        .args(more)
        .args([network])
        .output()
        .await
        .map(drop)
}

/// The words of `docker run` that ask for an address of one's own, the `place`th from the end, where Docker never begins to
/// look for a free one; none on a network without a subnet that was said.
pub(crate) async fn address(docker: &Docker, network: &str, place: u32) -> Result<Vec<String>, KindError> {
    let found = docker.inspect("network", network).await?.unwrap_or_default();
    let asked = ASKED.split_once('=').is_some_and(|(label, value)| found["Labels"][label] == value);
    let address = subnet(&found).filter(|_| asked).and_then(|subnet| from_end(&subnet, place));
    Ok(address.map(|address| vec!["--ip".to_owned(), address.to_string()]).unwrap_or_default())
}

fn subnet(network: &Value) -> Option<String> {
    configured(network, "Subnet")
}

/// The address that this machine has on a network. Docker tells it where it chose it, or was told it.
pub(crate) fn gateway(network: &Value) -> Option<String> {
    configured(network, "Gateway")
}

/// A member of the network's configuration for version 4.
fn configured(network: &Value, member: &str) -> Option<String> {
    let configurations = network["IPAM"]["Config"].as_array()?;
    let mut values = configurations.iter().filter_map(|configuration| configuration[member].as_str());
    values.find(|value| value.contains('.')).map(str::to_owned)
}

/// An address of a subnet, counted from its last one, the broadcast address.
fn from_end(subnet: &str, place: u32) -> Option<Ipv4Addr> {
    let (first, length) = subnet.split_once('/')?;
    let (first, length): (Ipv4Addr, u32) = (first.parse().ok()?, length.parse().ok()?);
    let size = 1_u32.checked_shl(32_u32.checked_sub(length)?)?;
    // The network itself, its gateway, the node.
    (place > 0 && size > place + 3).then(|| Ipv4Addr::from_bits(first.to_bits() | (size - 1 - place)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("172.18.0.0/16", 1, Some("172.18.255.254"))]
    #[case("172.18.0.0/16", 2, Some("172.18.255.253"))]
    #[case("10.0.4.0/24", 2, Some("10.0.4.253"))]
    #[case("10.0.4.0/30", 1, None)]
    #[case("10.0.4.0", 1, None)]
    #[case("fd00::/64", 1, None)]
    fn addresses_are_counted_from_the_end(
        #[case] subnet: &str,
        #[case] place: u32,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(from_end(subnet, place).map(|address| address.to_string()).as_deref(), expected);
    }

    #[test]
    fn the_configuration_is_the_one_of_version_four() {
        let six = json!({"Subnet": "fd00::/64", "Gateway": "fd00::1"});
        let four = json!({"Subnet": "172.19.0.0/16", "Gateway": "172.19.0.1"});
        let network = json!({"IPAM": {"Config": [six, four]}});
        assert_eq!(subnet(&network).as_deref(), Some("172.19.0.0/16"));
        assert_eq!(gateway(&network).as_deref(), Some("172.19.0.1"));
        assert_eq!(subnet(&json!({})), None);
    }
}
