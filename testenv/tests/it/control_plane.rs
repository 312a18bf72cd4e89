//! Control planes come up side by side, answer, and leave nothing behind, however their process ends.

use crate::common::{holder, processes, traces, wait_for};
use mailcert_testenv::Cluster;
use std::{
    fs,
    process::{Command, Stdio},
    thread,
};

#[test]
fn two_at_once_answer_and_leave_nothing() {
    let run = |name: &'static str| {
        move || {
            let cluster = Cluster::control_plane().unwrap();
            cluster.kubectl(&["create", "namespace", name]).unwrap();
            let applied = cluster
                .apply(
                    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: default}\ndata: {key: value}\n",
                )
                .unwrap();
            assert_eq!(applied.trim(), "configmap/one created");
            cluster
        }
    };
    let other = thread::spawn(run("right"));
    let (left, right) = (run("left")(), other.join().unwrap());
    assert!(right.kubectl(&["get", "namespace", "left"]).unwrap_err().to_string().contains("NotFound"));
    assert_ne!(left.api_url(), right.api_url());

    let dir = left.dir().to_owned();
    let mut running = processes(&dir);
    running.sort();
    assert_eq!(running, ["etcd", "kube-apiserver", "kube-controller"]);
    drop(left);
    assert_eq!(traces(&dir, "none"), Vec::<String>::new());
    right.kubectl(&["get", "namespace", "right"]).expect("the other one goes on");
}

#[test]
fn killing_the_holder_leaves_nothing() {
    let (mut holder, dir) = holder(&[]);
    assert_eq!(processes(&dir).len(), 3);
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_for("the reaper", || traces(&dir, "none").is_empty());
}

#[test]
fn killing_the_holder_while_it_starts_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_testenv"));
    let mut holder = command.arg("hold").env("TMPDIR", folder.path()).stdin(Stdio::piped()).spawn().unwrap();
    let dirs = || fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    wait_for("the first server", || dirs().iter().any(|dir| !processes(dir).is_empty()));
    let dir = dirs().remove(0);
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_for("the reaper", || traces(&dir, "none").is_empty());
}

#[test]
fn a_folder_with_content_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine"), "kept").unwrap();
    let refused = Cluster::up_detached(folder.path(), &mailcert_testenv::Options::default()).unwrap_err();
    assert!(refused.to_string().contains("is not empty"), "{refused}");
    assert!(Cluster::down(folder.path()).unwrap_err().to_string().contains("holds no test environment"));
    assert!(folder.path().join("mine").exists());
}
