//! Creates the container of a job, with its mounts, permissions and limits.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigLogConfig, Mount,
    MountType, ResourcesUlimits,
};
use bollard::query_parameters::{ContainerArchiveInfoOptionsBuilder, CreateContainerOptions};

use super::super::kvm::DEVICE;
use super::super::sandbox::{self, OUT, TMP};
use super::super::{ExecutorError, Job, Limits, Network};
use super::connection::{failure, has_status};
use super::leftovers::Created;
use super::{DockerExecutor, volume};
use crate::fs::blocking;

/// Sends stdout and stderr through one pipe: with two, the daemon loses their order.
const IN_ONE_STREAM: [&str; 3] = ["/bin/sh", "-c", r#"exec "$0" "$@" 2>&1"#];

/// A file in the output directory that shows whether the daemon sees the directories of this machine.
const MARKER: &str = ".marker";

impl DockerExecutor {
    /// Creates the container of a job and the volumes that it needs.
    pub(super) async fn create(&self, image: &str, job: &Job) -> Result<Created, ExecutorError> {
        let command = sandbox::command(job)?;
        let is_shared = *self
            .sees_our_folders
            .get_or_try_init(|| self.probe(image, job))
            .await?;
        let mut mounts = Vec::with_capacity(job.mounts.len() + 1);
        for mount in &job.mounts {
            let target = text_of(&mount.target)?;
            mounts.push(if is_shared {
                bind(&mount.source, target, true)?
            } else {
                let name = self.tree_volume(image, job, &mount.source, target).await?;
                volume::mount(&name, target, true)
            });
        }
        let mut output_volume = None;
        mounts.push(if is_shared {
            if job.network == Network::None {
                sandbox::open_to_user(&job.output)?;
            }
            bind(&job.output, OUT, false)?
        } else {
            let output = output_volume.insert(self.output_volume(image, job).await?);
            volume::mount(&output.name, OUT, false)
        });
        let mut body = self.describe(image, job, mounts, command);
        // A daemon that does not see our directories does not have the devices of this machine either.
        if let Some(kvm) = self.kvm.get().filter(|_| job.kvm && is_shared) {
            let host = body.host_config.get_or_insert_default();
            host.devices = Some(vec![DeviceMapping {
                path_on_host: Some(DEVICE.to_owned()),
                path_in_container: Some(DEVICE.to_owned()),
                cgroup_permissions: Some("rw".to_owned()),
            }]);
            host.group_add = kvm.group.map(|group| vec![group.to_string()]);
        }
        match self
            .docker
            .create_container(None::<CreateContainerOptions>, body)
            .await
        {
            Ok(created) => Ok(self.created(created.id, output_volume)),
            Err(error) => {
                if let Some(output) = output_volume {
                    // The first error is the one to report; a later sweep removes the rest.
                    drop(output.remove(&self.docker).await);
                }
                Err(failure("create a container", error))
            }
        }
    }

    fn describe(
        &self,
        image: &str,
        job: &Job,
        mounts: Vec<Mount>,
        command: Vec<String>,
    ) -> ContainerCreateBody {
        let memory_bytes = i64::try_from(job.limits.memory_bytes).unwrap_or(i64::MAX);
        let is_hermetic = job.network == Network::None;
        let (user, group) = if is_hermetic { sandbox::user() } else { (0, 0) };
        let network = if is_hermetic { "none" } else { "host" };
        let host_config = HostConfig {
            network_mode: Some(network.to_owned()),
            cap_drop: is_hermetic.then(|| vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            readonly_rootfs: Some(is_hermetic),
            tmpfs: Some(HashMap::from([(
                TMP.to_owned(),
                self.options_of_tmp(job.limits),
            )])),
            // Without /dev/shm, which would be a second writable directory with a limit of its own.
            ipc_mode: is_hermetic.then(|| "none".to_owned()),
            mounts: Some(mounts),
            memory: Some(memory_bytes),
            // The same number as for the memory: no additional swap.
            memory_swap: Some(memory_bytes),
            pids_limit: Some(i64::from(job.limits.processes)),
            ulimits: Some(vec![
                ulimit("core", 0),
                ulimit(
                    "fsize",
                    i64::try_from(job.limits.bytes_each()).unwrap_or(i64::MAX),
                ),
            ]),
            // This process reads the output, so the daemon need not write it to its disk.
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: None,
            }),
            ..Default::default()
        };
        ContainerCreateBody {
            image: Some(image.to_owned()),
            hostname: Some(job.host_name().to_owned()),
            user: Some(format!("{user}:{group}")),
            working_dir: Some(TMP.to_owned()),
            entrypoint: Some(IN_ONE_STREAM.map(str::to_owned).into()),
            cmd: Some(command),
            tty: Some(false),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..Default::default()
            }),
            labels: Some(self.labels(&job.run_id, &job.name)),
            host_config: Some(host_config),
            ..Default::default()
        }
    }

    fn options_of_tmp(&self, limits: Limits) -> String {
        let mut options = format!(
            "rw,exec,nosuid,nodev,mode=1777,size={}",
            limits.bytes_each()
        );
        // Podman does not support this option.
        if !self.is_podman {
            write!(options, ",nr_inodes={}", limits.files_each()).unwrap_or_default();
        }
        options
    }

    /// Whether the daemon sees the directories of this machine: looks for a file of the job's output directory in a
    /// container that is never started.
    async fn probe(&self, image: &str, job: &Job) -> Result<bool, ExecutorError> {
        let info = self
            .docker
            .info()
            .await
            .map_err(|error| failure("describe itself", error))?;
        // With mapped users, the script's user does not exist on this machine and cannot write to our directories.
        let is_mapped = |option: &String| option == "name=rootless" || option == "name=userns";
        if info.security_options.iter().flatten().any(is_mapped) {
            return Ok(false);
        }
        let marker = job.output.join(MARKER);
        let written = marker.clone();
        blocking(move || crate::fs::write(&written, "")).await?;
        let mounts = vec![bind(&job.output, OUT, true)?];
        let body = self.describe(image, job, mounts, sandbox::command(job)?);
        let created = self
            .docker
            .create_container(None::<CreateContainerOptions>, body)
            .await;
        let seen = match created {
            Ok(created) => {
                let container = self.created(created.id, None);
                let options = ContainerArchiveInfoOptionsBuilder::new()
                    .path(&format!("{OUT}/{MARKER}"))
                    .build();
                let found = self
                    .docker
                    .get_container_archive_info(container.id(), Some(options))
                    .await;
                container.remove().await?;
                match found {
                    Ok(_) => Ok(true),
                    Err(error) if has_status(&error, 404) => Ok(false),
                    Err(error) => Err(failure("look into a container", error)),
                }
            }
            // "bind source path does not exist"
            Err(error) if has_status(&error, 400) => Ok(false),
            Err(error) => Err(failure("create a container", error)),
        };
        blocking(move || crate::fs::remove_file(&marker)).await?;
        seen
    }
}

fn ulimit(name: &str, value: i64) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(value),
        hard: Some(value),
    }
}

fn bind(source: &Path, target: &str, read_only: bool) -> Result<Mount, ExecutorError> {
    Ok(Mount {
        typ: Some(MountType::BIND),
        source: Some(text_of(source)?.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Default::default()
    })
}

fn text_of(path: &Path) -> Result<&str, ExecutorError> {
    path.to_str().ok_or_else(|| {
        ExecutorError::infrastructure(format!("path {} is not UTF-8", path.display()))
    })
}
