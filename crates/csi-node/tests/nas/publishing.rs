//! Publications: rows 46 to 53 of `storage.md` §9, paths that are made, options, read-only mounts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use csi_api::NodePublishVolumeRequest;
use csi_api::volume_capability::AccessType;
use csi_api::volume_capability::access_mode::Mode;
use lab::NasFault;
use nas_sim::{Access, ExportOptions, Squash};
use tokio::net::TcpListener;
use tonic::Code;

use crate::common::{Agent, blocking, in_namespaces, mount_line};
use crate::support::{EXPORT, NAS, Nas, mount, names, number, request, until};

/// Changes one thing of a good request.
type Change = fn(&mut NodePublishVolumeRequest);

fn attribute(request: &mut NodePublishVolumeRequest, name: &str, value: &str) {
    request.volume_context.insert(name.into(), value.into());
}

fn options(request: &mut NodePublishVolumeRequest, options: &[&str]) {
    let Some(AccessType::Mount(mount)) =
        request.volume_capability.as_mut().and_then(|capability| capability.access_type.as_mut())
    else {
        panic!("a mount")
    };
    mount.mount_flags = options.iter().map(|option| (*option).to_owned()).collect();
}

fn mode(request: &mut NodePublishVolumeRequest, mode: Mode) {
    let capability = request.volume_capability.as_mut().expect("a capability");
    capability.access_mode.as_mut().expect("a mode").mode = mode.into();
}

const EXTREME: &str = "xxx.xxx.extreme.nas.aliyuncs.com";

#[test]
fn refused_publications_say_why_and_leave_nothing() {
    in_namespaces("publishing::refused_publications_say_why_and_leave_nothing", || async {
        let nas = Nas::start().await;
        fs::write(nas.folder.join("file"), "").expect("written");
        let agent = nas.agent().await;
        let cases: Vec<(&str, Change, Code, &str)> = vec![
            ("id", |it| it.volume_id.clear(), Code::InvalidArgument, "volume_id"),
            ("capability", |it| it.volume_capability = None, Code::InvalidArgument, "volume_capability"),
            ("server", |it| attribute(it, "server", ""), Code::InvalidArgument, "server is missing"),
            ("port", |it| attribute(it, "server", "127.0.0.1:2049"), Code::Unknown, "without port or path"),
            ("source", |it| attribute(it, "server", "127.0.0.1:/share"), Code::Unknown, "attribute path"),
            ("path", |it| attribute(it, "path", "share"), Code::Unknown, "should start with /"),
            ("dots", |it| attribute(it, "path", "/share/../etc"), Code::InvalidArgument, ".."),
            (
                "extreme",
                |it| {
                    attribute(it, "server", EXTREME);
                    attribute(it, "vers", "4.0");
                },
                Code::Unknown,
                "version 3 only",
            ),
            (
                "extreme-option",
                |it| {
                    attribute(it, "server", EXTREME);
                    options(it, &["vers=4.1"]);
                },
                Code::Unknown,
                "version 3 only",
            ),
            ("four", |it| options(it, &["vers=4.1"]), Code::InvalidArgument, "vers=3 works"),
            ("version", |it| attribute(it, "vers", "2"), Code::Unknown, "vers \"2\" is unknown"),
            ("protocol", |it| attribute(it, "mountProtocol", "efc"), Code::InvalidArgument, "only nfs"),
            ("access-point", |it| attribute(it, "accessPoint", "ap"), Code::InvalidArgument, "accessPoint"),
            ("pod", |it| attribute(it, "csi.storage.k8s.io/pod.uid", ""), Code::Unknown, "pod.uid"),
            ("option", |it| options(it, &["frobnicate"]), Code::Internal, "incorrect mount option"),
            ("udp", |it| options(it, &["proto=udp"]), Code::Internal, "kernel's NFS client"),
            (
                "mode-of-root",
                |it| {
                    attribute(it, "path", "/");
                    attribute(it, "mode", "777");
                },
                Code::Unknown,
                "mode can't be set on path /",
            ),
            ("root", |it| attribute(it, "path", "/"), Code::Internal, "No such file or directory"),
            ("other-export", |it| attribute(it, "path", "/other/x"), Code::Internal, "/other/x"),
            ("below-a-file", |it| attribute(it, "path", "/share/file/x"), Code::Internal, "/share/file/x"),
            (
                "missing-read-only",
                |it| {
                    attribute(it, "path", "/share/missing");
                    it.readonly = true;
                },
                Code::Internal,
                "No such file or directory; a read-only mount makes no directories",
            ),
            (
                "missing-reader",
                |it| {
                    attribute(it, "path", "/share/missing");
                    mode(it, Mode::MultiNodeReaderOnly);
                },
                Code::Internal,
                "No such file or directory",
            ),
        ];
        for (name, change, code, phrase) in cases {
            let target = agent.target(name);
            let mut wrong = request(&target, EXPORT, &[]);
            change(&mut wrong);
            let status = agent.publish(wrong).await.expect_err(name);
            assert_eq!(status.code(), code, "{name}: {status}");
            assert!(status.message().contains(phrase), "{name}: {status}");
            assert_eq!(mount_line(&target), None, "{name}");
        }
        assert_eq!(names(&nas.folder), ["file"], "nothing is made");
    });
}

/// As NFS-Ganesha does.
#[test]
fn a_server_that_denies_whatever_is_missing_is_asked_what_is_there() {
    in_namespaces("publishing::a_server_that_denies_whatever_is_missing_is_asked_what_is_there", || async {
        let nas = Nas::start().await;
        fs::create_dir(nas.folder.join("there")).expect("made");
        let agent = nas.agent().await;
        for (path, phrase) in [
            ("/share/missing", "No such file or directory; a read-only mount makes no directories"),
            ("/share/missing/deep", "No such file or directory; a read-only mount makes no directories"),
            ("/share/there", "access denied by server"),
        ] {
            nas.fault(NasFault {
                procedure: Some("MNT".into()),
                error: Some("MNT3ERR_ACCES".into()),
                times: Some(1),
                ..NasFault::default()
            });
            let mut wanted = request(&agent.target("read-only"), path, &[]);
            wanted.readonly = true;
            let status = agent.publish(wanted).await.expect_err(path);
            assert!(status.message().contains(phrase), "{path}: {status}");
        }
        assert_eq!(names(&nas.folder), ["there"], "nothing is made");
    });
}

#[test]
fn a_permission_group_that_refuses_fails_the_mount() {
    in_namespaces("publishing::a_permission_group_that_refuses_fails_the_mount", || async {
        let nas =
            Nas::start_with(ExportOptions { access: Access::Refused, ..ExportOptions::default() }).await;
        let agent = nas.agent().await;
        for path in [EXPORT, "/share/sub"] {
            let target = agent.target("t");
            let status = agent.publish(request(&target, path, &[])).await.expect_err("refused");
            assert_eq!(status.code(), Code::Internal, "{path}: {status}");
            assert!(status.message().contains("access denied by server"), "{path}: {status}");
            assert_eq!(mount_line(&target), None);
        }
        assert!(names(&nas.folder).is_empty(), "nothing is made");
        // The operator lets the pod in, and the same request works.
        nas.sim.set_export(EXPORT, ExportOptions::default()).expect("set");
        mount(&agent, "t", &[]).await;
    });
}

#[test]
fn a_server_that_is_not_there_is_given_up_in_time() {
    in_namespaces("publishing::a_server_that_is_not_there_is_given_up_in_time", || async {
        let nas = Nas::start().await;
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = free.local_addr().expect("an address").port().to_string();
        drop(free);
        let refusing = Agent::start_for(NAS, "nas", &["--nas-port", &port, "--mount-limit", "7"]).await;
        let hanging = nas.agent_with(&["--mount-limit", "3"]).await;
        let cases: [(&Agent, &str, &str, Code, &str); 3] = [
            (
                &refusing,
                "refused",
                "127.0.0.1",
                Code::InvalidArgument,
                "cannot connect to nas host 127.0.0.1",
            ),
            (
                &refusing,
                "unknown",
                "no-such-host.invalid",
                Code::InvalidArgument,
                "cannot connect to nas host",
            ),
            (&hanging, "hanging", "127.0.0.1", Code::Internal, "does not answer"),
        ];
        nas.fault(NasFault { hang: true, ..NasFault::default() });
        let publications = cases.map(|(agent, name, server, code, phrase)| async move {
            let target = agent.target(name);
            let mut wanted = request(&target, EXPORT, &[]);
            attribute(&mut wanted, "server", server);
            let begun = Instant::now();
            let status = agent.publish(wanted).await.expect_err(name);
            assert_eq!(status.code(), code, "{name}: {status}");
            assert!(status.message().contains(phrase), "{name}: {status}");
            assert!(begun.elapsed() < Duration::from_secs(12), "{name} took {:?}", begun.elapsed());
            assert_eq!(mount_line(&target), None, "{name}");
        });
        futures::future::join_all(publications).await;
    });
}

#[test]
fn a_missing_path_is_made_for_writers() {
    in_namespaces("publishing::a_missing_path_is_made_for_writers", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        // Two sandboxes at once.
        let (one, two) = (agent.target("one"), agent.target("two"));
        let (first, second) = tokio::join!(
            agent.publish(request(&one, "/share/team/project", &[])),
            agent.publish(request(&two, "/share/team/project/", &[])),
        );
        first.expect("mounted");
        second.expect("mounted");
        let permissions =
            |name: &str| fs::metadata(nas.folder.join(name)).expect("made").permissions().mode() & 0o7777;
        assert_eq!((permissions("team"), permissions("team/project")), (0o755, 0o777));
        blocking(move || {
            fs::write(one.join("f"), "seen by both").expect("written");
            assert_eq!(fs::read_to_string(two.join("f")).expect("read"), "seen by both");
        })
        .await;
        // A path that is there stays as it is.
        fs::create_dir(nas.folder.join("private")).expect("made");
        fs::set_permissions(nas.folder.join("private"), fs::Permissions::from_mode(0o700)).expect("set");
        agent.publish(request(&agent.target("three"), "/share/private", &[])).await.expect("mounted");
        assert_eq!(permissions("private"), 0o700);
        // Unless the volume says what it should be.
        let target = agent.target("four");
        let mut wanted = request(&target, "/share/private", &[]);
        attribute(&mut wanted, "mode", "0750");
        agent.publish(wanted).await.expect("mounted");
        blocking({
            let folder = nas.folder.clone();
            move || {
                until("the mode is set", || {
                    let found = fs::metadata(folder.join("private")).expect("there");
                    found.permissions().mode() & 0o7777 == 0o750
                });
            }
        })
        .await;
    });
}

#[test]
fn a_server_that_squashes_root_makes_no_path_where_nobody_may() {
    in_namespaces("publishing::a_server_that_squashes_root_makes_no_path_where_nobody_may", || async {
        let nas = Nas::start_with(ExportOptions { squash: Squash::Root, ..ExportOptions::default() }).await;
        fs::set_permissions(&nas.folder, fs::Permissions::from_mode(0o755)).expect("set");
        let agent = nas.agent().await;
        let target = agent.target("t");
        let status = agent.publish(request(&target, "/share/new", &[])).await.expect_err("refused");
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains("can't be made: Permission denied"), "{status}");
        // Root in the sandbox is nobody on the server.
        let root = mount(&agent, "root", &[]).await;
        assert_eq!(blocking(move || number(fs::write(root.join("f"), "x"))).await, libc::EACCES);
        assert!(names(&nas.folder).is_empty());
    });
}

#[test]
fn a_read_only_mount_refuses_by_itself() {
    in_namespaces("publishing::a_read_only_mount_refuses_by_itself", || async {
        let nas = Nas::start().await;
        fs::write(nas.folder.join("a"), "content").expect("written");
        let agent = nas.agent().await;
        let ways: [(&str, Change); 3] = [
            ("flag", |it| it.readonly = true),
            ("access-mode", |it| mode(it, Mode::SingleNodeReaderOnly)),
            ("option", |it| options(it, &["nolock,ro", "vers=3"])),
        ];
        for (name, change) in ways {
            let target = agent.target(name);
            let mut wanted = request(&target, EXPORT, &["nolock,tcp,noresvport", "vers=3"]);
            change(&mut wanted);
            agent.publish(wanted).await.expect("mounted");
            let line = mount_line(&target).expect("mounted");
            assert!(line.contains(" fuse.nfs ro,"), "{name}: {line}");
            blocking(move || {
                assert_eq!(fs::read_to_string(target.join("a")).expect("read"), "content");
                for refused in [
                    fs::write(target.join("a"), "changed"),
                    fs::write(target.join("b"), "new"),
                    fs::remove_file(target.join("a")),
                    fs::create_dir(target.join("d")),
                    fs::rename(target.join("a"), target.join("c")),
                    fs::set_permissions(target.join("a"), fs::Permissions::from_mode(0o777)),
                ] {
                    assert_eq!(number(refused), libc::EROFS);
                }
            })
            .await;
        }
        // The others in the same agent may write.
        let root = mount(&agent, "writable", &[]).await;
        blocking(move || fs::write(root.join("w"), "").expect("written")).await;
        assert_eq!(names(&nas.folder), ["a", "w"]);
        for procedure in ["SETATTR", "REMOVE", "RENAME", "MKDIR"] {
            assert_eq!(nas.calls(procedure), 0, "no {procedure} reaches the server");
        }
    });
}

#[test]
fn options_are_put_together_as_the_product_does() {
    in_namespaces("publishing::options_are_put_together_as_the_product_does", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let defaults = "nolock,proto=tcp,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport";
        let cases: [(&str, &[&str], &str, &str); 5] = [
            ("defaults", &[], "", defaults),
            ("attribute", &["vers=3"], "nolock,soft", "nolock,soft"),
            ("replaced", &["nolock,tcp,noresvport", "vers=3"], "soft", "nolock,tcp,noresvport"),
            ("none", &["none"], "soft", ""),
            (
                "credentials",
                &["access_key_id=AKID-sentinel,access_key_secret=AKSECRET-sentinel"],
                "",
                defaults,
            ),
        ];
        for (name, mount_options, attribute_options, expected) in cases {
            let mut wanted = request(&agent.target(name), EXPORT, mount_options);
            attribute(&mut wanted, "options", attribute_options);
            agent.publish(wanted).await.expect("mounted");
            let journal = agent.stdout();
            let line = journal.lines().rfind(|line| line.contains("NasMounted")).expect("told");
            assert!(line.contains(&format!("\"options\":\"{expected}\"")), "{name}: {line}");
        }
        for text in [agent.stdout(), agent.stderr()] {
            assert!(!text.contains("sentinel"), "{text}");
        }
    });
}

#[test]
fn a_repeated_publication_is_compared_with_the_first() {
    in_namespaces("publishing::a_repeated_publication_is_compared_with_the_first", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let target = mount(&agent, "t", &[]).await;
        agent.publish(request(&target, "/share/", &["soft"])).await.expect("the same volume is fine");
        let mut read_only = request(&target, EXPORT, &[]);
        read_only.readonly = true;
        for wanted in [request(&target, "/share/other", &[]), read_only] {
            let status = agent.publish(wanted).await.expect_err("refused");
            assert_eq!(status.code(), Code::AlreadyExists, "{status}");
        }
        assert!(names(&nas.folder).is_empty(), "nothing is made for a refused one");
        let table = fs::read_to_string("/proc/self/mounts").expect("the mount table");
        assert_eq!(table.lines().filter(|line| line.contains("fuse.nfs")).count(), 1, "{table}");
        agent.unpublish(&target).await.expect("unmounted");
    });
}
