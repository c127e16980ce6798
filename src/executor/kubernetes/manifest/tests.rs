use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::digest::Sha256;
use crate::executor::kubernetes::archive::Facts;
use crate::executor::kubernetes::settings::Toleration;
use crate::executor::{Limits, Toolchain};

fn job() -> crate::executor::Job {
    crate::executor::Job {
        name: "module 8.1.0+driver/x86_64/debian_6.1".to_owned(),
        run_id: "20260101T000000Z-abc123".to_owned(),
        toolchain: Toolchain::Image {
            name: "builder:x".to_owned(),
            identity: Sha256::of("image"),
            archive: None,
        },
        script: "echo $$ $(HOME)".to_owned(),
        mounts: Vec::new(),
        environment: Vec::new(),
        network: crate::executor::Network::None,
        kvm: false,
        limits: Limits {
            timeout: Duration::from_mins(1),
            memory_bytes: 1 << 30,
            output_bytes: 2 << 30,
            output_files: 200_000,
            processes: 100,
        },
        output: PathBuf::from("/nowhere"),
    }
}

fn tree(name: &str, target: &str) -> PlacedTree {
    PlacedTree {
        archive: Archive {
            path: PathBuf::from("/nowhere"),
            facts: Facts {
                content: Sha256::of(name),
                sha256: Sha256::of(format!("archive of {name}")),
                size_bytes: 1,
                is_empty: false,
            },
        },
        target: target.to_owned(),
        url: format!("http://server/{name}"),
    }
}

fn described(settings: &KubernetesSettings, must_pull: bool) -> Value {
    let (job, trees) = (job(), [tree("a", "/usr/src/a"), tree("b", "/usr/src/b")]);
    let described = describe(&Described {
        settings,
        name: "dkm-1",
        job: &job,
        image: "builder:x".to_owned(),
        command: vec!["/bin/sh".to_owned(), job.script.clone()],
        trees: &trees,
        must_pull,
        result_url: "http://server/v1/dkm-1/result/{sha256}",
        token: "secret",
        authority: None,
        executor: "0011223344",
        epoch: 0,
        owner: "boot.1.2.3",
        store: "home",
    });
    serde_json::to_value(described).unwrap()
}

fn pod_of(job: &Value) -> &Value {
    &job["spec"]["template"]["spec"]
}

#[test]
fn a_job_is_tried_once_and_ends_and_goes_by_itself() {
    let settings = KubernetesSettings {
        start_timeout: Duration::from_secs(100),
        keep_finished: Duration::from_secs(7),
        ..KubernetesSettings::default()
    };
    let job = described(&settings, true);
    assert_eq!(job["spec"]["backoffLimit"], 0);
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 160);
    assert_eq!(job["spec"]["ttlSecondsAfterFinished"], 7);
    assert_eq!(pod_of(&job)["restartPolicy"], "Never");
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels[EXECUTOR_LABEL], "0011223344");
    assert_eq!(*labels, job["metadata"]["labels"]);
}

#[test]
fn every_container_is_restricted_and_only_helpers_know_the_token() {
    let job = described(&KubernetesSettings::default(), true);
    let pod = pod_of(&job);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65534);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let inits = pod["initContainers"].as_array().unwrap();
    let all: Vec<&Value> = inits
        .iter()
        .chain(pod["containers"].as_array().unwrap())
        .collect();
    assert_eq!(all.len(), 3);
    for container in all {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        let knows = container.to_string().contains("secret");
        assert_eq!(knows, container["name"] != BUILD, "{}", container["name"]);
    }
}

#[test]
fn trees_are_read_only_at_their_places_and_pulled_only_where_they_must_be() {
    let job = described(&KubernetesSettings::default(), false);
    assert_eq!(pod_of(&job)["initContainers"], Value::Null);
    let mounts = &pod_of(&job)["containers"][1]["volumeMounts"];
    let of_trees: Vec<_> = mounts
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| mount["name"] == "cache")
        .collect();
    assert_eq!(of_trees.len(), 2);
    for (mount, name) in of_trees.iter().zip(["a", "b"]) {
        assert_eq!(mount["mountPath"], format!("/usr/src/{name}"));
        assert_eq!(mount["subPath"], format!("trees/{}", Sha256::of(name)));
        assert_eq!(mount["readOnly"], true);
    }
}

#[test]
fn helper_that_delivers_watches_how_many_files_there_are() {
    let job = described(&KubernetesSettings::default(), false);
    let deliver = &pod_of(&job)["containers"][0];
    assert_eq!(deliver["name"], DELIVER);
    let files = json!({"name": "FILES", "value": self::job().limits.files_each().to_string()});
    assert!(deliver["env"].as_array().unwrap().contains(&files));
    let watched = json!({"name": "tmp", "mountPath": "/watched", "readOnly": true});
    assert!(
        deliver["volumeMounts"]
            .as_array()
            .unwrap()
            .contains(&watched)
    );
}

/// Runs `pod/deliver.sh` with its own directories and with a `stat` that reports the given numbers of files; returns
/// its exit code and its last message.
fn deliver(used: u32, files_on_disk: u32) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["job", "out", "watched", "bin"] {
        crate::fs::create_folder(&at(name)).unwrap();
    }
    for number in 0..files_on_disk {
        crate::fs::write_unsynced(&at(&format!("job/{number}")), "").unwrap();
    }
    let programs = [
        ("stat", format!("echo 1000 {}", 1000 - used)),
        ("cmake", ":".to_owned()),
    ];
    for (name, script) in programs {
        let path = at("bin").join(name);
        crate::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
    }
    let root = folder.path().to_str().unwrap();
    let mut script = DELIVER_SCRIPT.replace("-C / out", &format!("-C {root} out"));
    for name in ["/job", "/out", "/watched", "/dev/termination-log"] {
        let own = format!("{root}/{}", name.rsplit('/').next().unwrap());
        script = script.replace(&format!(" {name}"), &format!(" {own}"));
        script = script.replace(&format!(">{name}"), &format!(">{own}"));
        script = script.replace(&format!("={name}"), &format!("={own}"));
    }
    // The other end of the pipe closes after a second, as at the end of a script.
    let job = format!(
        "until [ -p {root}/job/alive ]; do sleep 0.1; done; exec 9>{root}/job/alive; sleep 1"
    );
    let mut builds = std::process::Command::new("sh")
        .args(["-c", &job])
        .spawn()
        .unwrap();
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap());
    let status = std::process::Command::new("sh")
        .args(["-c", &script])
        .env("PATH", path)
        .env("FILES", "10")
        .env("TRANSFER", "")
        .env("URL", "http://nowhere")
        .status()
        .unwrap();
    builds.wait().unwrap();
    let said = crate::fs::read_to_string(&at("termination-log")).unwrap_or_default();
    (status.code(), said)
}

#[test]
fn results_are_sent_unless_there_are_too_many_files() {
    for (used, on_disk) in [(11, 0), (1, 5)] {
        let (code, said) = deliver(used, on_disk);
        assert_eq!((code, said.len()), (Some(0), 64), "{said}");
    }
    for (used, on_disk) in [(12, 0), (1, 50)] {
        let (code, said) = deliver(used, on_disk);
        assert_eq!(
            (code, &*said),
            (Some(TOO_MANY_FILES), "the job created more than 10 files\n"),
        );
    }
}

#[test]
fn dollars_reach_the_script_as_they_are() {
    let job = described(&KubernetesSettings::default(), false);
    let arguments = pod_of(&job)["containers"][1]["args"].as_array().unwrap();
    assert_eq!(arguments[0], "60");
    assert_eq!(arguments[1], "/usr/src/a\n/usr/src/b\n");
    // Kubernetes replaces two dollar signs by one.
    assert_eq!(arguments[3], "echo $$$$ $$(HOME)");
}

#[test]
fn settings_reach_the_pod() {
    let settings = KubernetesSettings {
        image_pull_secrets: vec!["registry".to_owned()],
        service_account: Some("builder".to_owned()),
        run_as_user: 1000,
        run_as_group: 1001,
        node_selector: BTreeMap::from([("pool".to_owned(), "builders".to_owned())]),
        tolerations: vec!["spot=yes:NoSchedule".parse::<Toleration>().unwrap()],
        cpu: "500m".to_owned(),
        cache: CacheVolume::Claim("trees".to_owned()),
        ..KubernetesSettings::default()
    };
    let job = described(&settings, true);
    let pod = pod_of(&job);
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(pod["serviceAccountName"], "builder");
    assert_eq!(pod["securityContext"]["runAsUser"], 1000);
    assert_eq!(pod["securityContext"]["fsGroup"], 1001);
    assert_eq!(pod["nodeSelector"]["pool"], "builders");
    assert_eq!(pod["nodeSelector"]["kubernetes.io/arch"], architecture());
    assert_eq!(
        pod["tolerations"],
        json!([{"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}])
    );
    let resources = &pod["containers"][1]["resources"];
    assert_eq!(resources["requests"]["cpu"], "500m");
    assert_eq!(resources["limits"]["memory"], "1073741824");
    let volumes = pod["volumes"].as_array().unwrap();
    let cache = volumes.iter().find(|volume| volume["name"] == "cache");
    assert_eq!(
        cache.unwrap()["persistentVolumeClaim"]["claimName"],
        "trees"
    );
}
