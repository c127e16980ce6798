//! Describes a job as a batch/v1 Job: a pod that passes PodSecurity `restricted`, with the job's trees mounted.
//!
//! The pod has up to three containers, all of the builder image: `pull` downloads trees to the cache volume and ends
//! before the others start, `build` runs the script, and `deliver` waits for the end of the script and sends its
//! result.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, EnvVar, HostPathVolumeSource,
    LocalObjectReference, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec,
    PodTemplateSpec, ResourceRequirements, SeccompProfile, SecurityContext,
    Toleration as PodToleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::archive::Archive;
use super::settings::{CacheVolume, KubernetesSettings};
use crate::executor::sandbox::{OUT, TMP};

/// The container that downloads inputs.
pub(super) const PULL: &str = "pull";
/// The container that runs the script.
pub(super) const BUILD: &str = "build";
/// The container that sends results.
pub(super) const DELIVER: &str = "deliver";

/// The exit code with which `build` reports that a tree is missing on the cache volume; see `pod/build.sh`.
pub(super) const TREE_MISSING: i32 = 190;

/// The exit code with which `deliver` reports that the job created too many files; see `pod/deliver.sh`.
pub(super) const TOO_MANY_FILES: i32 = 191;

/// The path at which `deliver` sees the job's `/tmp`.
const WATCHED: &str = "/watched";

pub(super) const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
pub(super) const MANAGED_BY: &str = "driverkit-matrix";
/// Identifies the executor (that is, the process) that created a Job.
pub(super) const EXECUTOR_LABEL: &str = "driverkit-matrix/executor";
pub(super) const RUN_LABEL: &str = "driverkit-matrix/run";
/// Identifies the store of the run.
pub(super) const STORE_LABEL: &str = "driverkit-matrix/store";
pub(super) const OWNER_ANNOTATION: &str = "driverkit-matrix/owner";
const JOB_ANNOTATION: &str = "driverkit-matrix/job";

const TRANSFER_SCRIPT: &str = include_str!("pod/transfer.cmake");
const PULL_SCRIPT: &str = include_str!("pod/pull.sh");
const BUILD_SCRIPT: &str = include_str!("pod/build.sh");
const DELIVER_SCRIPT: &str = include_str!("pod/deliver.sh");

/// The resources of `pull` and `deliver`: both run briefly and mostly wait for the network.
const HELPER_MEMORY: &str = "512Mi";
const HELPER_MEMORY_REQUEST: &str = "32Mi";
const HELPER_CPU_REQUEST: &str = "50m";

/// The maximum size of a script's output.
const LOG_BYTES: u64 = 1 << 30;

/// How long a pod that is being ended may take to send its log.
const GRACE_SECONDS: i64 = 15;

/// A tree and its mount point.
pub(super) struct PlacedTree {
    pub(super) archive: Archive,
    pub(super) target: String,
    /// The URL from which a pod downloads the archive, if necessary.
    pub(super) url: String,
}

/// The inputs of a Job's manifest.
pub(super) struct Described<'a> {
    pub(super) settings: &'a KubernetesSettings,
    pub(super) name: &'a str,
    pub(super) job: &'a crate::executor::Job,
    /// The image name that nodes use.
    pub(super) image: String,
    pub(super) command: Vec<String>,
    pub(super) trees: &'a [PlacedTree],
    /// Whether trees must first be downloaded to the cache volume.
    pub(super) must_pull: bool,
    /// The URL for the result.
    pub(super) result_url: &'a str,
    /// Empty if the URLs are sufficient.
    pub(super) token: &'a str,
    pub(super) authority: Option<&'a str>,
    pub(super) executor: &'a str,
    /// Part of the name of a verification, with the executor's name: a tree verified under that name is not verified
    /// again.
    pub(super) epoch: u64,
    pub(super) owner: &'a str,
    pub(super) store: &'a str,
}

/// Returns the manifest of a Job.
pub(super) fn describe(described: &Described<'_>) -> Job {
    let settings = described.settings;
    let seconds = described.job.limits.timeout.as_secs().max(1);
    let deadline = seconds.saturating_add(settings.start_timeout.as_secs());
    let labels = BTreeMap::from([
        (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
        (EXECUTOR_LABEL.to_owned(), described.executor.to_owned()),
        (RUN_LABEL.to_owned(), described.job.run_id.clone()),
        (STORE_LABEL.to_owned(), described.store.to_owned()),
    ]);
    let annotations = BTreeMap::from([
        (OWNER_ANNOTATION.to_owned(), described.owner.to_owned()),
        (JOB_ANNOTATION.to_owned(), described.job.name.clone()),
    ]);
    Job {
        metadata: ObjectMeta {
            name: Some(described.name.to_owned()),
            labels: Some(labels.clone()),
            annotations: Some(annotations.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            active_deadline_seconds: Some(i64::try_from(deadline).unwrap_or(i64::MAX)),
            ttl_seconds_after_finished: Some(
                i32::try_from(settings.keep_finished.as_secs()).unwrap_or(i32::MAX),
            ),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(described, seconds)),
            },
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}

fn pod(described: &Described<'_>, seconds: u64) -> PodSpec {
    let settings = described.settings;
    let mut node_selector =
        BTreeMap::from([("kubernetes.io/arch".to_owned(), architecture().to_owned())]);
    node_selector.extend(settings.node_selector.clone());
    let secrets = settings.image_pull_secrets.iter().cloned();
    let pull = described.must_pull.then(|| vec![pull(described)]);
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        hostname: Some(described.job.host_name().to_owned()),
        service_account_name: settings.service_account.clone(),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        node_selector: Some(node_selector),
        tolerations: Some(settings.tolerations.iter().map(toleration).collect()),
        image_pull_secrets: Some(secrets.map(|name| LocalObjectReference { name }).collect()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(i64::from(settings.run_as_user)),
            run_as_group: Some(i64::from(settings.run_as_group)),
            fs_group: Some(i64::from(settings.run_as_group)),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        volumes: Some(volumes(described)),
        init_containers: pull,
        containers: vec![deliver(described), build(described, seconds)],
        ..PodSpec::default()
    }
}

/// Returns the required architecture of nodes: that of this machine, for which the builder images were chosen. The
/// architecture that they compile for does not matter here.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        other => other,
    }
}

fn toleration(toleration: &super::settings::Toleration) -> PodToleration {
    let operator = if toleration.value.is_some() {
        "Equal"
    } else {
        "Exists"
    };
    PodToleration {
        key: Some(toleration.key.clone()).filter(|key| !key.is_empty()),
        operator: Some(operator.to_owned()),
        value: toleration.value.clone(),
        effect: toleration.effect.clone(),
        ..PodToleration::default()
    }
}

fn volumes(described: &Described<'_>) -> Vec<Volume> {
    let empty = |name: &str, source: EmptyDirVolumeSource| Volume {
        name: name.to_owned(),
        empty_dir: Some(source),
        ..Volume::default()
    };
    let bytes_each = described.job.limits.bytes_each();
    let limited = |medium: Option<&str>, bytes: u64| EmptyDirVolumeSource {
        medium: medium.map(str::to_owned),
        size_limit: Some(Quantity(bytes.to_string())),
    };
    // A volume in memory cannot exceed its size; for a volume on the disk, the kubelet notices the excess with a delay.
    let mut volumes = vec![
        // The log, and a copy of all of `/out`.
        empty("job", limited(None, bytes_each.saturating_add(LOG_BYTES))),
        empty("out", limited(Some("Memory"), bytes_each)),
        empty("tmp", limited(Some("Memory"), bytes_each)),
    ];
    if !described.trees.is_empty() {
        let mut cache = Volume {
            name: "cache".to_owned(),
            ..Volume::default()
        };
        match &described.settings.cache {
            CacheVolume::None => cache.empty_dir = Some(EmptyDirVolumeSource::default()),
            CacheVolume::Claim(name) => {
                cache.persistent_volume_claim = Some(PersistentVolumeClaimVolumeSource {
                    claim_name: name.clone(),
                    ..PersistentVolumeClaimVolumeSource::default()
                });
            }
            CacheVolume::HostPath(path) => {
                cache.host_path = Some(HostPathVolumeSource {
                    path: path.clone(),
                    type_: Some("DirectoryOrCreate".to_owned()),
                });
            }
        }
        volumes.push(cache);
    }
    volumes
}

fn container(described: &Described<'_>, name: &str, script: &str) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(described.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            literal(script),
            name.to_owned(),
        ]),
        // The status contains the end of a container's output, so no log has to be queried.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn helper(described: &Described<'_>, name: &str, script: &str) -> Container {
    let mut env = vec![
        variable("TRANSFER", TRANSFER_SCRIPT),
        variable("TOKEN", described.token),
        // CMake requires a home directory.
        variable("HOME", TMP),
    ];
    env.extend(described.authority.map(|text| variable("CA_TEXT", text)));
    Container {
        env: Some(env),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(HELPER_CPU_REQUEST, HELPER_MEMORY_REQUEST)),
            limits: Some(BTreeMap::from([(
                "memory".to_owned(),
                Quantity(HELPER_MEMORY.to_owned()),
            )])),
            ..ResourceRequirements::default()
        }),
        ..container(described, name, script)
    }
}

fn pull(described: &Described<'_>) -> Container {
    let mut trees: Vec<String> = described
        .trees
        .iter()
        .map(|tree| {
            let facts = tree.archive.facts;
            format!("{} {} {}", facts.content, facts.sha256, tree.url)
        })
        .collect();
    // The order is the same in all pods, so that they cannot deadlock.
    trees.sort();
    trees.dedup();
    let mut container = helper(described, PULL, PULL_SCRIPT);
    container.env.get_or_insert_default().extend([
        variable("TREES", &trees.join("\n")),
        variable(
            "RUN",
            &format!("{}-{}", described.executor, described.epoch),
        ),
        variable("KEEP_DAYS", &described.settings.cache_days.to_string()),
    ]);
    container.volume_mounts = Some(vec![mount("cache", "/cache")]);
    container
}

fn deliver(described: &Described<'_>) -> Container {
    let mut container = helper(described, DELIVER, DELIVER_SCRIPT);
    let files = described.job.limits.files_each();
    container.env.get_or_insert_default().extend([
        variable("URL", described.result_url),
        variable("FILES", &files.to_string()),
    ]);
    container.volume_mounts = Some(vec![
        mount("job", "/job"),
        mount("out", OUT),
        VolumeMount {
            read_only: Some(true),
            ..mount("tmp", WATCHED)
        },
    ]);
    container
}

fn build(described: &Described<'_>, seconds: u64) -> Container {
    let mut mounts = vec![mount("job", "/job"), mount("out", OUT), mount("tmp", TMP)];
    let mut folders = String::new();
    for tree in described.trees {
        mounts.push(VolumeMount {
            read_only: Some(true),
            sub_path: Some(format!("trees/{}", tree.archive.facts.content)),
            ..mount("cache", &tree.target)
        });
        if !tree.archive.facts.is_empty {
            folders.push_str(&tree.target);
            folders.push('\n');
        }
    }
    let arguments = [seconds.to_string(), folders]
        .into_iter()
        .chain(described.command.iter().cloned());
    let memory = described.job.limits.memory_bytes.to_string();
    Container {
        args: Some(arguments.map(|text| literal(&text)).collect()),
        working_dir: Some(TMP.to_owned()),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(&described.settings.cpu, &memory)),
            limits: Some(BTreeMap::from([("memory".to_owned(), Quantity(memory))])),
            ..ResourceRequirements::default()
        }),
        volume_mounts: Some(mounts),
        ..container(described, BUILD, BUILD_SCRIPT)
    }
}

fn quantities(cpu: &str, memory: &str) -> BTreeMap<String, Quantity> {
    BTreeMap::from([
        ("cpu".to_owned(), Quantity(cpu.to_owned())),
        ("memory".to_owned(), Quantity(memory.to_owned())),
    ])
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(literal(value)),
        ..EnvVar::default()
    }
}

/// Escapes `$`: Kubernetes expands `$(NAME)` in commands, arguments and values, and reads two dollar signs as one.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests;
