//! A sandbox sees nothing private.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod policies;
mod support;

use std::os::unix::net::UnixListener;

use serde_json::json;
use support::{LIMIT, Lab, enclosed};
use tokio::io::AsyncWriteExt as _;

fn plain() -> serde_json::Value {
    json!({"containers": [{"name": "main", "image": "i"}], "terminationGracePeriodSeconds": 1})
}

#[test]
fn files_sockets_and_processes_of_others_are_not_there() {
    enclosed("files_sockets_and_processes_of_others_are_not_there", || async {
        let lab = Lab::start().await;
        std::fs::create_dir_all("/run/user").expect("a folder");
        let _socket = UnixListener::bind("/run/user/control.sock").expect("a socket");
        std::fs::write("/tmp/machines-own-file", "private").expect("a file");
        lab.create("one", plain()).await;
        lab.create("two", plain()).await;
        lab.wait_ready("one").await;
        lab.wait_ready("two").await;
        lab.run(
            "one",
            "main",
            "echo secret > /root/one && echo secret > /usr/share/one && sleep 1000 & true",
        )
        .await;

        let see = |command: &'static str| lab.run("two", "main", command);
        assert_eq!(see("ls -A /root /run/user /home 2>/dev/null | grep -v '^/' | tr -d '\\n'").await, "user");
        assert_eq!(see("ls -A /tmp /var/log /srv /mnt /media /opt | grep -v '^/' | tr -d '\\n'").await, "");
        assert_eq!(
            see("find / -xdev -name one -o -xdev -name '*.sock' -o -xdev -name machines-own-file | wc -l")
                .await,
            "0"
        );
        for hidden in [
            "/etc/shadow",
            "/etc/machine-id",
            "/etc/ssh",
            "/etc/ssl/private",
            "/work",
            "/run/node",
            "/proc/1/root/run/node",
        ] {
            assert_eq!(
                lab.try_run("two", "main", &format!("test -e {hidden}")).await.0,
                1,
                "{hidden} is seen"
            );
        }
        // Its own idle process and the shell that counts.
        let processes = see("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; done").await;
        assert!(!processes.contains("sleep 1000"), "{processes}");
        assert!(
            see("cat /proc/mounts")
                .await
                .lines()
                .all(|line| !line.contains("/run/node/pods/") || line.starts_with("overlay"))
        );
        assert_eq!(see("hostname").await, "two");
        assert_eq!(see("cat /etc/passwd | grep -c ':1000:'").await, "1");
    });
}

#[test]
fn what_is_protected_stays_protected() {
    enclosed("what_is_protected_stays_protected", || async {
        let lab = Lab::start().await;
        lab.create("box", plain()).await;
        lab.wait_ready("box").await;
        for forbidden in [
            "echo x > /proc/sys/kernel/core_pattern",
            "echo b > /proc/sysrq-trigger",
            "mount -t tmpfs x /mnt",
            "mknod /tmp/disk b 8 0",
            "echo x >> /proc/1/exe",
            "unshare -m true",
            "head -c1 /proc/kcore | grep -q .",
            "hostname other",
        ] {
            let (code, output) = lab.try_run("box", "main", forbidden).await;
            assert_ne!(code, 0, "{forbidden:?} is allowed: {output}");
        }
        lab.run("box", "main", "echo x > /usr/bin/written && echo y > /etc/written && touch /dev/shm/z && chown 1000 /etc/written").await;
        assert!(!std::path::Path::new("/usr/bin/written").exists(), "the machine's own folders are below");
        let (code, _) = lab.try_run("box", "main", "kill -9 1; true").await;
        assert_eq!(code, 0, "a container's first process is safe from its own children");
        assert_eq!(lab.wait_ready("box").await["status"]["containerStatuses"][0]["restartCount"], 0);
    });
}

#[test]
fn the_network_is_the_labs_own() {
    enclosed("the_network_is_the_labs_own", || async {
        let lab = Lab::start().await;
        let service = tokio::net::TcpListener::bind((lab.node.gateway(), 7000)).await.expect("a listener");
        let local = tokio::net::TcpListener::bind("127.0.0.1:7001").await.expect("a listener");
        let serve = tokio::spawn(async move {
            while let Ok((mut stream, _)) = service.accept().await {
                let _ = stream.write_all(b"welcome\n").await;
            }
        });
        lab.create("one", plain()).await;
        lab.create("two", plain()).await;
        let one = lab.wait_ready("one").await["status"]["podIP"].as_str().expect("an address").to_owned();
        let two = lab.wait_ready("two").await["status"]["podIP"].as_str().expect("an address").to_owned();
        assert_ne!(one, two);
        let command = "head -n1 < /dev/tcp/10.88.0.1/7000; (: < /dev/tcp/127.0.0.1/7001) 2>/dev/null && echo lab; \
            (: < /dev/tcp/192.0.2.1/80) 2>&1 | head -n1 | grep -o 'Network is unreachable'; \
            ls /sys/class/net | tr '\\n' ' '";
        let words = ["/bin/bash", "-c", command];
        let answers = lab.node.exec("default", "two", None, &words, LIMIT).await.expect("an end").output;
        assert_eq!(answers.lines().collect::<Vec<_>>(), ["welcome", "Network is unreachable", "eth0 lo"]);
        drop(local);
        serve.abort();
    });
}
