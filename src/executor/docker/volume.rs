//! Volumes for a daemon that does not see this machine's directories: copies of trees, and outputs.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bollard::models::{
    ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptions, DownloadFromContainerOptionsBuilder, StartContainerOptions,
    UploadToContainerOptionsBuilder,
};
use futures_util::TryStreamExt as _;
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use super::super::sandbox::{self, OUT};
use super::super::{ExecutorError, Job, output};
use super::DockerExecutor;
use super::connection::failure;
use super::leftovers::{Created, OutputVolume, remove_container, remove_volume};
use crate::fs::blocking;

const BUFFER_BYTES: usize = 1 << 20;

/// The block size of a tmpfs on most machines.
const PAGE_BYTES: u64 = 4096;

impl DockerExecutor {
    /// Returns the volume with a copy of directory `source`. The first job that needs it creates it, through a
    /// container that mounts it at `target`.
    pub(super) async fn tree_volume(
        &self,
        image: &str,
        job: &Job,
        source: &Path,
        target: &str,
    ) -> Result<String, ExecutorError> {
        let key = source.to_owned();
        let cell = Arc::clone(self.trees.lock().await.entry(key).or_default());
        let name = cell
            .get_or_try_init(|| self.copy_tree(image, job, source, target))
            .await?;
        Ok(name.clone())
    }

    async fn copy_tree(
        &self,
        image: &str,
        job: &Job,
        source: &Path,
        target: &str,
    ) -> Result<String, ExecutorError> {
        let name = self
            .create_volume(job, &source.display().to_string(), None)
            .await?;
        let filled = self.fill_volume(image, job, source, target, &name).await;
        if filled.is_err() {
            // The first error is the one to report; a later sweep removes the rest.
            drop(remove_volume(&self.docker, &name).await);
        }
        filled.map(|()| name)
    }

    async fn fill_volume(
        &self,
        image: &str,
        job: &Job,
        source: &Path,
        target: &str,
        volume: &str,
    ) -> Result<(), ExecutorError> {
        let holder = self.hold_volume(image, job, volume, target).await?;
        let folder = source.to_owned();
        // The daemon refuses links that leave the directory into which it unpacks, such as links between header
        // packages, so it unpacks into the root. Podman accepts such links; when it unpacks into the root, the files
        // do not reach the volume.
        let (into, inside) = if self.is_podman {
            (target, String::new())
        } else {
            ("/", target.trim_start_matches('/').to_owned())
        };
        let uploaded = self.upload(holder.id(), into, move |pipe| {
            let mut builder = tar::Builder::new(pipe);
            builder.follow_symlinks(false);
            builder.append_dir_all(inside, folder)?;
            builder.into_inner().map(drop)
        });
        let uploaded = uploaded.await;
        holder.remove().await?;
        uploaded.map_err(|error| {
            let message = format!("failed to copy {} to the daemon", source.display());
            ExecutorError::caused_by(message, error)
        })
    }

    /// Creates a volume for outputs: a tmpfs with a size limit, writable for the script's user. A tmpfs volume exists
    /// only while a running container uses it, so an idle container holds it until its content has been read.
    pub(super) async fn output_volume(
        &self,
        image: &str,
        job: &Job,
    ) -> Result<OutputVolume, ExecutorError> {
        let (user, group) = sandbox::user();
        let bytes = job.limits.bytes_each();
        let size = if self.is_podman {
            // Podman interprets `size` as a disk quota.
            format!("nr_blocks={}", bytes.div_ceil(PAGE_BYTES))
        } else {
            format!("size={bytes}")
        };
        let files = job.limits.files_each();
        let options =
            format!("{size},nr_inodes={files},uid={user},gid={group},mode=1777,nosuid,nodev");
        let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", &options)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let name = self
            .create_volume(job, &job.name, Some(HashMap::from(options)))
            .await?;
        match self.start_holder(image, job, &name).await {
            Ok(holder) => Ok(OutputVolume { name, holder }),
            Err(error) => {
                drop(remove_volume(&self.docker, &name).await);
                Err(error)
            }
        }
    }

    /// Starts a container that waits for input that never comes, and returns its id.
    async fn start_holder(
        &self,
        image: &str,
        job: &Job,
        volume: &str,
    ) -> Result<String, ExecutorError> {
        let (user, group) = sandbox::user();
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            user: Some(format!("{user}:{group}")),
            entrypoint: Some(["/bin/sh", "-c", "read -r line"].map(str::to_owned).into()),
            cmd: Some(Vec::new()),
            open_stdin: Some(true),
            labels: Some(self.labels(&job.run_id, &job.name)),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                readonly_rootfs: Some(true),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                mounts: Some(vec![mount(volume, OUT, true)]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let created = self
            .docker
            .create_container(None::<CreateContainerOptions>, body)
            .await
            .map_err(|error| failure("create a container", error))?;
        let started = self
            .docker
            .start_container(&created.id, None::<StartContainerOptions>)
            .await;
        if let Err(error) = started {
            drop(remove_container(&self.docker, &created.id, None).await);
            return Err(failure("start a container", error));
        }
        Ok(created.id)
    }

    /// Creates a container that is never started and gives access to a volume.
    async fn hold_volume(
        &self,
        image: &str,
        job: &Job,
        volume: &str,
        target: &str,
    ) -> Result<Created, ExecutorError> {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec!["/bin/true".to_owned()]),
            labels: Some(self.labels(&job.run_id, &job.name)),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                mounts: Some(vec![mount(volume, target, false)]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let created = self
            .docker
            .create_container(None::<CreateContainerOptions>, body)
            .await
            .map_err(|error| failure("create a container", error))?;
        Ok(self.created(created.id, None))
    }

    /// Unpacks the tar that `make` writes below `path` in the container.
    async fn upload(
        &self,
        container: &str,
        path: &str,
        make: impl FnOnce(SyncIoBridge<tokio::io::DuplexStream>) -> io::Result<()> + Send + 'static,
    ) -> Result<(), ExecutorError> {
        let (reader, writer) = tokio::io::duplex(BUFFER_BYTES);
        let writer = SyncIoBridge::new(writer);
        let made = tokio::task::spawn_blocking(move || make(writer));
        let options = UploadToContainerOptionsBuilder::new().path(path).build();
        let body = bollard::body_try_stream(ReaderStream::with_capacity(reader, BUFFER_BYTES));
        let sent = self
            .docker
            .upload_to_container(container, Some(options), body)
            .await;
        // If the daemon closed the connection first, its response is the cause and the broken pipe is not.
        sent.map_err(|error| failure("receive files", error))?;
        match made.await {
            Ok(made) => {
                made.map_err(|error| ExecutorError::caused_by("failed to read files", error))
            }
            Err(error) => Err(ExecutorError::caused_by(
                "the task that reads files was aborted",
                error,
            )),
        }
    }

    /// Reads `/out` of a container into the job's output directory. Returns false if it exceeds the limits.
    pub(super) async fn download_output(
        &self,
        container: &str,
        job: &Job,
    ) -> Result<bool, ExecutorError> {
        let options = DownloadFromContainerOptionsBuilder::new().path(OUT).build();
        let stream = self
            .docker
            .download_from_container(container, Some(options))
            .map_err(io::Error::other);
        let reader = SyncIoBridge::new(StreamReader::new(Box::pin(stream)));
        let folder = job.output.clone();
        let limits = job.limits;
        let unpacked = blocking(move || output::unpack(reader, &folder, limits)).await;
        unpacked.map_err(|error| ExecutorError::caused_by("failed to read outputs back", error))
    }

    /// Creates an empty volume, and returns the name that the daemon gave it.
    async fn create_volume(
        &self,
        job: &Job,
        what: &str,
        driver_opts: Option<HashMap<String, String>>,
    ) -> Result<String, ExecutorError> {
        let request = VolumeCreateRequest {
            driver_opts,
            labels: Some(self.labels(&job.run_id, what)),
            ..Default::default()
        };
        let volume = self
            .docker
            .create_volume(request)
            .await
            .map_err(|error| failure("create a volume", error))?;
        Ok(volume.name)
    }

    /// Removes the volumes with copies of trees.
    pub(super) async fn remove_tree_volumes(&self) -> Result<(), ExecutorError> {
        let trees = std::mem::take(&mut *self.trees.lock().await);
        for name in trees.values().filter_map(|cell| cell.get()) {
            remove_volume(&self.docker, name).await?;
        }
        Ok(())
    }
}

/// Mounts a volume at `target`.
pub(super) fn mount(volume: &str, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            ..Default::default()
        }),
        ..Default::default()
    }
}
