//! Pods, namespaces and services as policies refer to them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use contract::crd::TrafficProtocol;
use contract::network::{NamedPort, Pod, World};
use k8s_openapi::api::core::v1;
use kube::ResourceExt as _;

use crate::node::Shared;

type Labels = BTreeMap<String, String>;

/// A snapshot of what selectors can mean.
#[derive(Debug)]
pub(super) struct Surroundings {
    pods: Vec<Pod>,
    callers: Vec<Pod>,
    namespaces: BTreeMap<String, Labels>,
    services: BTreeMap<(String, String), Labels>,
}

impl Surroundings {
    pub(super) fn of(shared: &Shared) -> Self {
        let contexts: Vec<_> = shared.pods().values().map(|entry| entry.context.clone()).collect();
        let pods = contexts.iter().map(|context| {
            let address = context.sandbox().map(|sandbox| sandbox.address_text.as_str());
            pod_of(&context.latest(), address)
        });
        let namespaces = shared.policies.namespaces.state();
        let namespaces =
            namespaces.iter().map(|namespace| (namespace.name_any(), namespace.labels().clone()));
        let services = shared.policies.services.state();
        let services = services.iter().filter_map(|service| {
            let key = (service.namespace().unwrap_or_default(), service.name_any());
            Some((key, service.spec.as_ref()?.selector.clone()?))
        });
        let bridge = IpAddr::V4(shared.network.bridge_address());
        let callers = shared.network.options().callers.iter().map(|(namespace, labels)| Pod {
            namespace: namespace.clone(),
            labels: labels.clone(),
            addresses: vec![bridge],
            ports: Vec::new(),
        });
        Self {
            pods: pods.collect(),
            callers: callers.collect(),
            namespaces: namespaces.collect(),
            services: services.collect(),
        }
    }

    pub(super) fn world<'a>(&'a self, resolve: &'a dyn Fn(&str) -> Vec<IpAddr>) -> World<'a> {
        World {
            pods: &self.pods,
            callers: &self.callers,
            namespaces: &self.namespaces,
            services: &self.services,
            resolve,
        }
    }
}

/// The part of a pod that policies see.
pub(super) fn pod_of(pod: &v1::Pod, address: Option<&str>) -> Pod {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten()).filter_map(|port| {
        let protocol = match port.protocol.as_deref() {
            Some("UDP") => TrafficProtocol::Udp,
            Some("SCTP") => TrafficProtocol::Sctp,
            _ => TrafficProtocol::Tcp,
        };
        Some(NamedPort { name: port.name.clone()?, protocol, port: u16::try_from(port.container_port).ok()? })
    });
    Pod {
        namespace: pod.namespace().unwrap_or_default(),
        labels: pod.labels().clone(),
        addresses: address.and_then(|address| address.parse().ok()).into_iter().collect(),
        ports: ports.collect(),
    }
}
