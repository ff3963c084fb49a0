//! The way from the cluster's network to the world outside.
//!
//! A daemon of ours writes no packet filter, so what containers send outside would come back to nobody; above all
//! questions for names that don't exist, which then take as long as a name server's patience. One rule of our own
//! mends it: recognised by its comment, and gone with the cluster.

use crate::KindError;
use crate::command::{Run, find};
use crate::docker::Docker;

/// What begins every comment of ours.
const COMMENT: &str = "mountlab:";

/// Makes sure of the rule for a network of our own daemon. Another daemon has one already.
pub(crate) async fn open(docker: &Docker, network: &str) -> Result<(), KindError> {
    if !docker.is_own() {
        return Ok(());
    }
    let found = docker.inspect("network", network).await?.unwrap_or_default();
    let subnets = found["IPAM"]["Config"].as_array().map(Vec::as_slice).unwrap_or_default();
    let subnet =
        subnets.iter().filter_map(|config| config["Subnet"].as_str()).find(|subnet| subnet.contains('.'));
    let subnet = subnet
        .ok_or_else(|| KindError::program(format!("opening network {network}"), "it has no IPv4 subnet"))?;
    close(docker, network).await?;
    let comment = comment(network);
    let rule = ["--source", subnet, "!", "--destination", subnet, "--match", "comment", "--comment"];
    let rule = [&rule[..], &[comment.as_str(), "--jump", "MASQUERADE"]].concat();
    run(&format!("opening network {network}"), &[&["--append", "POSTROUTING"], &rule[..]].concat())
        .await
        .map(drop)
}

/// Removes the rule, if it is there.
pub(crate) async fn close(docker: &Docker, network: &str) -> Result<(), KindError> {
    if !docker.is_own() {
        return Ok(());
    }
    let action = format!("closing network {network}");
    let rules = run(&action, &["--list-rules", "POSTROUTING"]).await?;
    for rule in rules.lines().filter_map(|line| removal(line, network)) {
        let words: Vec<&str> = rule.iter().map(String::as_str).collect();
        run(&action, &words).await?;
    }
    Ok(())
}

fn comment(network: &str) -> String {
    format!("{COMMENT}{network}")
}

/// The words that remove a rule as it is listed, if it is the one of this network.
fn removal(line: &str, network: &str) -> Option<Vec<String>> {
    let words: Vec<String> =
        line.strip_prefix("-A ")?.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect();
    let ours = words.windows(2).any(|pair| pair[0] == "--comment" && pair[1] == comment(network));
    ours.then(|| [vec!["-D".to_owned()], words].concat())
}

async fn run(action: &str, words: &[&str]) -> Result<String, KindError> {
    let program = find("iptables").ok_or_else(|| {
        KindError::machine("there is no iptables program", "install it (apt-get install iptables)")
    })?;
    Run::new(action, program).args(["--wait", "--table", "nat"]).args(words).output().await
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::ours(
        "-A POSTROUTING -s 172.17.0.0/16 ! -d 172.17.0.0/16 -m comment --comment \"mountlab:lab-network\" -j MASQUERADE",
        Some(
            "-D POSTROUTING -s 172.17.0.0/16 ! -d 172.17.0.0/16 -m comment --comment mountlab:lab-network -j MASQUERADE"
        )
    )]
    #[case::of_another_cluster(
        "-A POSTROUTING -m comment --comment mountlab:lab-network-2 -j MASQUERADE",
        None
    )]
    #[case::of_docker("-A POSTROUTING -s 172.18.0.0/16 ! -o br-1 -j MASQUERADE", None)]
    #[case::no_rule("-P POSTROUTING ACCEPT", None)]
    fn only_our_rule_is_removed(#[case] line: &str, #[case] expected: Option<&str>) {
        assert_eq!(removal(line, "lab-network").map(|words| words.join(" ")).as_deref(), expected);
    }
}
