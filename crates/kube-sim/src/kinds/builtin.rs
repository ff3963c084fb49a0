//! The table of built-in kinds.

use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, autoscaling::v1 as autoscaling,
    batch::v1 as batch, coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery,
    events::v1 as events, networking::v1 as networking, policy::v1 as policy, rbac::v1 as rbac,
    scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use schemars::{Schema, SchemaGenerator};

use super::{Origin, ResourceType, ScalePaths};

/// What is known of a built-in kind beforehand.
#[derive(Debug)]
pub(crate) struct Builtin {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    has_status: bool,
    /// Whether `metadata.generation` counts changes of the spec.
    pub(crate) has_generation: bool,
    /// The kind's schema, made on first use.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// `status` and `generation` in the table below.
const YES: bool = true;
const NO: bool = false;

macro_rules! kinds {
    ($( $scope:ident $group:literal $version:literal $plural:literal $type:ty,
        [$($short:literal)*] [$($category:literal)*] status $status:ident generation $generation:ident; )*) => {
        /// Every built-in kind.
        pub(crate) static ALL: &[Builtin] = &[ $( Builtin {
            group: $group,
            version: $version,
            kind: <$type as k8s_openapi::Resource>::KIND,
            plural: $plural,
            short_names: &[$($short),*],
            categories: &[$($category),*],
            namespaced: scope!($scope),
            has_status: $status,
            has_generation: $generation,
            schema: |generator| generator.subschema_for::<$type>(),
        } ),* ];
    };
}

macro_rules! scope {
    (namespaced) => {
        true
    };
    (cluster) => {
        false
    };
}

kinds! {
    cluster "" "v1" "namespaces" core::Namespace, ["ns"] [] status YES generation NO;
    cluster "" "v1" "nodes" core::Node, ["no"] [] status YES generation NO;
    cluster "" "v1" "persistentvolumes" core::PersistentVolume, ["pv"] [] status YES generation NO;
    namespaced "" "v1" "persistentvolumeclaims" core::PersistentVolumeClaim, ["pvc"] [] status YES generation NO;
    namespaced "" "v1" "pods" core::Pod, ["po"] ["all"] status YES generation YES;
    namespaced "" "v1" "podtemplates" core::PodTemplate, [] [] status NO generation YES;
    namespaced "" "v1" "replicationcontrollers" core::ReplicationController, ["rc"] ["all"] status YES generation YES;
    namespaced "" "v1" "configmaps" core::ConfigMap, ["cm"] [] status NO generation NO;
    namespaced "" "v1" "secrets" core::Secret, [] [] status NO generation NO;
    namespaced "" "v1" "services" core::Service, ["svc"] ["all"] status YES generation NO;
    namespaced "" "v1" "serviceaccounts" core::ServiceAccount, ["sa"] [] status NO generation NO;
    namespaced "" "v1" "endpoints" core::Endpoints, ["ep"] [] status NO generation NO;
    namespaced "" "v1" "events" core::Event, ["ev"] [] status NO generation NO;
    namespaced "" "v1" "limitranges" core::LimitRange, ["limits"] [] status NO generation NO;
    namespaced "" "v1" "resourcequotas" core::ResourceQuota, ["quota"] [] status YES generation NO;
    namespaced "apps" "v1" "deployments" apps::Deployment, ["deploy"] ["all"] status YES generation YES;
    namespaced "apps" "v1" "replicasets" apps::ReplicaSet, ["rs"] ["all"] status YES generation YES;
    namespaced "apps" "v1" "statefulsets" apps::StatefulSet, ["sts"] ["all"] status YES generation YES;
    namespaced "apps" "v1" "daemonsets" apps::DaemonSet, ["ds"] ["all"] status YES generation YES;
    namespaced "apps" "v1" "controllerrevisions" apps::ControllerRevision, [] [] status NO generation NO;
    namespaced "batch" "v1" "jobs" batch::Job, [] ["all"] status YES generation YES;
    namespaced "batch" "v1" "cronjobs" batch::CronJob, ["cj"] ["all"] status YES generation YES;
    namespaced "autoscaling" "v1" "horizontalpodautoscalers" autoscaling::HorizontalPodAutoscaler,
        ["hpa"] ["all"] status YES generation NO;
    namespaced "events.k8s.io" "v1" "events" events::Event, ["ev"] [] status NO generation NO;
    namespaced "coordination.k8s.io" "v1" "leases" coordination::Lease, [] [] status NO generation NO;
    namespaced "discovery.k8s.io" "v1" "endpointslices" discovery::EndpointSlice, [] [] status NO generation YES;
    namespaced "networking.k8s.io" "v1" "networkpolicies" networking::NetworkPolicy,
        ["netpol"] [] status NO generation YES;
    namespaced "networking.k8s.io" "v1" "ingresses" networking::Ingress, ["ing"] [] status YES generation YES;
    namespaced "policy" "v1" "poddisruptionbudgets" policy::PodDisruptionBudget,
        ["pdb"] [] status YES generation YES;
    namespaced "rbac.authorization.k8s.io" "v1" "roles" rbac::Role, [] [] status NO generation NO;
    namespaced "rbac.authorization.k8s.io" "v1" "rolebindings" rbac::RoleBinding, [] [] status NO generation NO;
    cluster "rbac.authorization.k8s.io" "v1" "clusterroles" rbac::ClusterRole, [] [] status NO generation NO;
    cluster "rbac.authorization.k8s.io" "v1" "clusterrolebindings" rbac::ClusterRoleBinding,
        [] [] status NO generation NO;
    cluster "scheduling.k8s.io" "v1" "priorityclasses" scheduling::PriorityClass,
        ["pc"] [] status NO generation YES;
    cluster "storage.k8s.io" "v1" "storageclasses" storage::StorageClass, ["sc"] [] status NO generation NO;
    cluster "storage.k8s.io" "v1" "csidrivers" storage::CSIDriver, [] [] status NO generation NO;
    cluster "storage.k8s.io" "v1" "csinodes" storage::CSINode, [] [] status NO generation NO;
    cluster "storage.k8s.io" "v1" "volumeattachments" storage::VolumeAttachment, [] [] status YES generation NO;
    cluster "admissionregistration.k8s.io" "v1" "mutatingwebhookconfigurations"
        admission::MutatingWebhookConfiguration, [] ["api-extensions"] status NO generation YES;
    cluster "admissionregistration.k8s.io" "v1" "validatingwebhookconfigurations"
        admission::ValidatingWebhookConfiguration, [] ["api-extensions"] status NO generation YES;
    cluster "admissionregistration.k8s.io" "v1" "validatingadmissionpolicies"
        admission::ValidatingAdmissionPolicy, [] ["api-extensions"] status YES generation YES;
    cluster "admissionregistration.k8s.io" "v1" "validatingadmissionpolicybindings"
        admission::ValidatingAdmissionPolicyBinding, [] ["api-extensions"] status NO generation YES;
    cluster "apiextensions.k8s.io" "v1" "customresourcedefinitions" apiextensions::CustomResourceDefinition,
        ["crd" "crds"] ["api-extensions"] status YES generation YES;
}

impl Builtin {
    pub(super) fn to_resource(&'static self) -> ResourceType {
        // Both faces of an event are one stored object.
        let storage_group = if self.group == "events.k8s.io" { "" } else { self.group };
        ResourceType {
            group: self.group.into(),
            version: self.version.into(),
            kind: self.kind.into(),
            list_kind: format!("{}List", self.kind),
            plural: self.plural.into(),
            singular: self.kind.to_lowercase(),
            short_names: self.short_names.iter().map(ToString::to_string).collect(),
            categories: self.categories.iter().map(ToString::to_string).collect(),
            namespaced: self.namespaced,
            has_status: self.has_status,
            scale: self.scale(),
            collection: format!("{storage_group}/{}", self.plural).into(),
            origin: Origin::Builtin(self),
        }
    }

    fn scale(&self) -> Option<ScalePaths> {
        matches!(self.plural, "deployments" | "replicasets" | "statefulsets" | "replicationcontrollers").then(
            || ScalePaths {
                spec: vec!["spec".into(), "replicas".into()],
                status: vec!["status".into(), "replicas".into()],
                selector: None,
            },
        )
    }
}

/// The kind that events are stored as, whichever face a client sees.
pub(crate) fn event_kind() -> &'static Builtin {
    static EVENT: Builtin = Builtin {
        group: "",
        version: "v1",
        kind: "Event",
        plural: "events",
        short_names: &[],
        categories: &[],
        namespaced: true,
        has_status: false,
        has_generation: false,
        schema: |generator| generator.subschema_for::<core::Event>(),
    };
    &EVENT
}
