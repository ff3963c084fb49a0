//! The table. Adding a row is adding a code; `docs/errors.md` follows (bless it with `BLESS=1 cargo test -p contract`).

/// What a code means: the columns of the table besides its name.
struct Row {
    name: &'static str,
    http_status: u16,
    exit_code: u8,
    explanation: &'static str,
    remedy: &'static str,
}

macro_rules! codes {
    ($( $variant:ident = $name:literal, $status:literal, $exit:literal, $explanation:literal, $remedy:literal; )*) => {
        /// A stable error code. Names and numbers are promises: scripts test for them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $( #[doc = $explanation] $variant, )*
        }

        impl Code {
            /// Every code, in the order of the document.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            fn row(self) -> Row {
                match self {
                    $( Self::$variant => Row {
                        name: $name,
                        http_status: $status,
                        exit_code: $exit,
                        explanation: $explanation,
                        remedy: $remedy,
                    }, )*
                }
            }
        }
    };
}

codes! {
    // requests
    InvalidBody = "invalid-body", 400, 1,
        "The request body is not JSON of the expected shape.",
        "Send a JSON object; every metadata value must be a string.";
    InvalidParameter = "invalid-parameter", 400, 1,
        "A parameter, extension key or header has a value that cannot be used.",
        "Correct the value that the message names.";
    InvalidTimeout = "invalid-timeout", 400, 1,
        "The timeout is outside the allowed bounds.",
        "Ask for at least 30 seconds and at most the configured maximum.";
    InvalidMetadataKey = "invalid-metadata-key", 400, 1,
        "A metadata key is not a Kubernetes qualified name.",
        "Use an optional DNS prefix and a slash, then at most 63 letters, digits, dots, dashes or underscores.";
    UnknownExtensionKey = "unknown-extension-key", 400, 1,
        "A metadata key uses a reserved prefix but is no known extension key.",
        "Use the key that the message suggests, or a prefix of your own.";
    Unauthorized = "unauthorized", 401, 1,
        "The API key or access token is missing or wrong.",
        "Send the key in X-API-KEY, or the token that the sandbox was created with.";
    Forbidden = "forbidden", 403, 1,
        "The caller may not do this.",
        "Use a key of the team that owns the object.";
    MountsNotAllowed = "mounts-not-allowed", 403, 1,
        "Mounting storage is switched off on this manager; the feature is subject to an allow list.",
        "Have the feature switched on, or leave the mount keys out.";
    SandboxNotFound = "sandbox-not-found", 404, 1,
        "There is no such sandbox, or it has ended.",
        "Check the sandbox id; a sandbox is gone after its timeout.";
    NotFound = "not-found", 404, 1,
        "There is no such route or object.",
        "Check the address and the name.";
    SandboxStateConflict = "sandbox-state-conflict", 409, 1,
        "The sandbox is in a state in which this cannot be done.",
        "Wait for the state that the message names, then try again.";
    NameTaken = "name-taken", 409, 1,
        "Another object has that name already.",
        "Choose another name, or delete the other object.";
    TooManyRequests = "too-many-requests", 429, 1,
        "A limit on the number of requests or sandboxes was reached.",
        "Try again later, or end sandboxes that are no longer needed.";
    NotSupported = "not-supported", 501, 1,
        "This build does not do what was asked.",
        "See docs/coverage.md for what is supported.";
    // mounts asked for
    InvalidMountConfig = "invalid-mount-config", 400, 1,
        "The mount list is not a JSON array of mount objects.",
        "Send csi-volume-config as text that holds an array of {pvName, mountPath, subPath, readOnly}.";
    IncompleteMountKeys = "incomplete-mount-keys", 400, 1,
        "Only one of csi-volume-name and csi-mount-point is given, or csi-subpath without them.",
        "Give csi-volume-name and csi-mount-point together.";
    InvalidMountPath = "invalid-mount-path", 400, 1,
        "A mount path is not an absolute, clean path, or it lies in a reserved tree.",
        "Use an absolute path without '..', '//', '/./' or a trailing slash, outside /proc, /sys, /dev and the runtime's own directories.";
    DuplicateMountPath = "duplicate-mount-path", 400, 1,
        "Two mounts ask for the same path.",
        "Give every mount a path of its own.";
    NestedMountPath = "nested-mount-path", 400, 1,
        "One mount path lies inside another.",
        "Use paths that are not inside each other.";
    TooManyMounts = "too-many-mounts", 400, 1,
        "More mounts are asked for than one sandbox may have.",
        "Ask for at most 16 mounts.";
    MountListTooLarge = "mount-list-too-large", 400, 1,
        "The mount list is too large to be kept on the sandbox object.",
        "Use fewer mounts or shorter paths.";
    MountNeedsRuntimeInit = "mount-needs-runtime-init", 400, 1,
        "A mount was asked for together with skip-init-runtime; mounting needs the initialised runtime.",
        "Leave skip-init-runtime out.";
    RuntimeNotInjected = "runtime-not-injected", 400, 1,
        "A mount was asked for, but the template does not have the runtimes csi and agent-runtime.",
        "List both names under spec.runtimes of the SandboxSet and wait for the pool to be replaced.";
    // resolution
    VolumeNameMissing = "volume-name-missing", 400, 1,
        "A mount has no PersistentVolume name.",
        "Name the PersistentVolume in pvName or csi-volume-name.";
    VolumeNotFound = "volume-not-found", 400, 1,
        "There is no PersistentVolume of that name.",
        "Create the PersistentVolume, or correct the name. It is the name of the PV, not of a PVC.";
    VolumeNotCsi = "volume-not-csi", 400, 1,
        "The PersistentVolume has no csi section.",
        "Use a static PersistentVolume with spec.csi.";
    DriverNotSupported = "driver-not-supported", 400, 1,
        "The PersistentVolume's driver is not among the supported ones.",
        "Use ossplugin.csi.alibabacloud.com or nasplugin.csi.alibabacloud.com, or extend DYNAMIC_STORAGE_DRIVER_LIST on manager and controller.";
    SecretNamespaceForbidden = "secret-namespace-forbidden", 400, 1,
        "The PersistentVolume refers to a Secret outside the system namespace.",
        "Create the Secret in sandbox-system and refer to it there.";
    SecretNotFound = "secret-not-found", 400, 1,
        "The Secret that the PersistentVolume refers to does not exist.",
        "Create the Secret in sandbox-system.";
    SecretReferenceMissing = "secret-reference-missing", 400, 1,
        "An OSS PersistentVolume has no nodePublishSecretRef.",
        "Refer to a Secret with the keys akId and akSecret in sandbox-system.";
    SecretKeyMissing = "secret-key-missing", 400, 1,
        "The Secret lacks a key that the driver needs, or its value is blank.",
        "Set both akId and akSecret in the Secret.";
    AuthTypeNotSupported = "auth-type-not-supported", 400, 1,
        "The OSS PersistentVolume asks for an authentication other than an AccessKey.",
        "Remove authType (and SecurityToken) and use akId and akSecret in a Secret.";
    CredentialsInAttributes = "credentials-in-attributes", 400, 1,
        "The PersistentVolume carries an access key in its volume attributes.",
        "Move akId and akSecret into a Secret in sandbox-system and refer to it.";
    InvalidSubPath = "invalid-sub-path", 400, 1,
        "The sub path is not a relative path inside the volume, or the volume's own path is not absolute.",
        "Use a relative path without '..' components; give the volume an absolute path attribute.";
    ClusterUnavailable = "cluster-unavailable", 503, 1,
        "The Kubernetes API could not be reached or refused the read.",
        "Try again; if it lasts, check the API server and the permissions of the component.";
    // claims
    TemplateNotFound = "template-not-found", 400, 1,
        "There is no SandboxSet and no checkpoint of that name.",
        "Create the SandboxSet, or correct the template parameter.";
    NoStock = "no-stock", 500, 1,
        "The pool has no available sandbox and none may or can be created.",
        "Raise spec.replicas of the SandboxSet, wait for the pool to refill, or look at its events.";
    SandboxNotReady = "sandbox-not-ready", 500, 1,
        "A sandbox did not become ready in time.",
        "Look at the events of the Sandbox and its pod.";
    RuntimeInitFailed = "runtime-init-failed", 500, 1,
        "The runtime in the sandbox could not be initialised.",
        "Check that the runtime agent-runtime is injected and that its container is running.";
    Internal = "internal", 500, 1,
        "Something that should not happen did.",
        "Report it with the request id; the manager's log has the cause.";
    // mounting
    MountFailed = "mount-failed", 500, 1,
        "A mount failed inside the sandbox; the sandbox was released.",
        "The message holds the driver's reason for every mount that failed.";
    MountTimedOut = "mount-timed-out", 504, 1,
        "Mounting did not finish within the limit; the sandbox was released.",
        "Replace the csi-agent image in ConfigMap sandbox-injection-config by v1.35.4-3c34d4a-aliyun, then create the sandbox again; check that the storage endpoint can be reached.";
    MountRootNotFound = "mount-root-not-found", 500, 1,
        "The shared directory mount-root is not mounted in the container.",
        "Inject the runtime csi: list it under spec.runtimes of the SandboxSet.";
    MountTargetOccupied = "mount-target-occupied", 500, 1,
        "Something that cannot be replaced exists at the mount path.",
        "Choose a path that does not exist in the image, or an empty directory.";
    MountConflict = "mount-conflict", 409, 1,
        "Another volume, or the same one with other options, is already mounted there.",
        "Use another mount path, or unmount first.";
    CsiSocketUnavailable = "csi-socket-unavailable", 504, 1,
        "The CSI driver's socket did not appear or does not answer.",
        "Check that the CSI sidecar is running, then try again.";
    PodUidMissing = "pod-uid-missing", 500, 1,
        "The pod's UID is not known in the container.",
        "Set POD_UID from metadata.uid; the default injection does.";
    InvalidPublishRequest = "invalid-publish-request", 400, 1,
        "The publish request cannot be decoded.",
        "Send the canonical protobuf JSON of NodePublishVolumeRequest, or its base64 form to the helper.";
    InvalidVolumeAttributes = "invalid-volume-attributes", 400, 1,
        "The volume's attributes are incomplete or contradict each other.",
        "Correct the volumeAttributes of the PersistentVolume as the message says.";
    StorageRefused = "storage-refused", 500, 1,
        "The storage service refused the credentials or the access.",
        "Check akId, akSecret and the permissions on the bucket or share.";
    StorageNotFound = "storage-not-found", 500, 1,
        "The bucket or exported path does not exist.",
        "Create it, or correct the attributes of the PersistentVolume.";
    StorageUnreachable = "storage-unreachable", 504, 1,
        "The storage service could not be reached in time.",
        "Check url or server and that policies allow egress to it.";
    // life cycle
    StorageNotHibernatable = "storage-not-hibernatable", 400, 1,
        "A sandbox with a NAS mount, or with a mount whose volume cannot be read any more, cannot hibernate.",
        "Kill the sandbox, or use OSS; it keeps running untouched.";
    SandboxPausing = "sandbox-pausing", 400, 1,
        "The sandbox is still being paused.",
        "Wait until the pause is complete, then try again.";
    SandboxResuming = "sandbox-resuming", 503, 1,
        "The sandbox is just waking up.",
        "Wait until it runs, then try again.";
    PauseFailed = "pause-failed", 500, 1,
        "The sandbox could not be paused.",
        "Look at the Sandbox's condition SandboxPaused and the events of its pod.";
    ResumeFailed = "resume-failed", 500, 1,
        "The sandbox could not be resumed.",
        "Look at the Sandbox's condition RuntimeInitialized for the cause.";
    CheckpointFailed = "checkpoint-failed", 500, 1,
        "No checkpoint of the sandbox could be taken.",
        "The message holds the reason; the sandbox goes on running, and nothing of the attempt is left.";
    // pods
    InvalidTemplate = "invalid-template", 400, 1,
        "The pod template cannot be read, or neither template nor templateRef is given.",
        "Correct the template as the message says.";
    InjectionTemplateNotFound = "injection-template-not-found", 500, 1,
        "ConfigMap sandbox-injection-config is absent or has no entry for a runtime that is asked for.",
        "Create the ConfigMap with the key; pods are made as soon as it is there.";
    InjectionTemplateInvalid = "injection-template-invalid", 500, 1,
        "An entry of ConfigMap sandbox-injection-config is not valid JSON of the expected shape.",
        "Correct the entry; pods are made as soon as it is valid.";
    InjectionConflict = "injection-conflict", 500, 1,
        "An injected container or volume has the name of one that the pod already has.",
        "Rename one of the two.";
    PodCreateFailed = "pod-create-failed", 500, 1,
        "The API server refused the pod.",
        "Correct the pod template as the message says.";
    // programs
    InvalidScenario = "invalid-scenario", 400, 2,
        "A scenario file is not valid.",
        "Correct the line that the message names; mountlab check lints without running.";
    WrongUsage = "wrong-usage", 400, 2,
        "The command line is not understood.",
        "See --help.";
    MachineCannot = "machine-cannot", 500, 3,
        "This machine lacks something that is needed.",
        "Run mountlab doctor; it names what is missing and how to get it.";
}

impl Code {
    /// The stable name, such as `volume-not-found`.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// HTTP status to answer with.
    pub fn http_status(self) -> u16 {
        self.row().http_status
    }

    /// Exit status of a program that ends because of it: 1 failure, 2 wrong usage or file, 3 unsuitable machine.
    pub fn exit_code(self) -> u8 {
        self.row().exit_code
    }

    /// What the code means, one sentence.
    pub fn explanation(self) -> &'static str {
        self.row().explanation
    }

    /// What the user can do.
    pub fn remedy(self) -> &'static str {
        self.row().remedy
    }

    /// The code of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
