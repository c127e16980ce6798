//! Kernel images: from their packages, or built from their sources.

use super::{Asked, Built, KernelOf, NO_RULE, Proofs, Proven, not_available};
use crate::engine::halt::{Halt, Mode};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::{Fetched, Request};
use crate::fs::blocking;
use crate::plan::Build;
use crate::proof::{self, KERNEL_IMAGE_BYTES};
use crate::recipe::kernel::tree::KernelPackages;
use crate::target::is_kernel_image;
use crate::unpack::{self, UnpackError, check_archive, read_from_archive};

impl Proofs {
    /// Returns the kernel of a build, built from its source.
    pub(super) async fn built(&self, build: &Build, mode: Mode) -> Result<Built, Halt> {
        let packages = self.kernels.packages(build, mode, &mut Vec::new()).await?;
        let KernelPackages::Source(source) = &packages else {
            let class = FailureClass::HeadersNotFound;
            return Err(Failure::new(class, Phase::Prove, NO_RULE).into());
        };
        let toolchain = self.toolchains.choose(build, packages.gcc_version(), mode);
        let toolchain = toolchain.await?;
        let kernels = &self.kernels;
        let (sha256, step) = kernels.own_image(build, source, &toolchain, mode).await?;
        Ok(Built { sha256, step })
    }

    /// Returns the image of a built kernel, and builds it again if it was removed from the store.
    async fn image_of(&self, asked: &Asked<'_>, built: &Built) -> Result<Vec<u8>, Halt> {
        let store = &self.engine.store;
        let mut sha256 = built.sha256;
        if !self.engine.has_whole_blob(sha256, Phase::Prove).await?
            && !store.fetch_shared(sha256).await
        {
            let steps = &self.engine.steps;
            steps.forget(built.step, Mode::Run, Phase::Prove).await?;
            sha256 = self.built(asked.build, Mode::Run).await?.sha256;
        }
        let path = store.blob_path(sha256);
        let read = blocking(move || crate::fs::read_file(&path)).await;
        read.map_err(self.engine.stored(Phase::Prove))
    }

    /// Returns true if the kernel package has no confirmation besides a single download.
    pub(super) fn is_unconfirmed(&self, asked: &Asked<'_>) -> bool {
        let KernelOf::Package { request, package } = asked.kernel else {
            return false;
        };
        let fetcher = &self.engine.fetcher;
        let candidates = &request.candidates;
        request.sha256.is_none()
            && !fetcher.is_offline()
            && !fetcher.is_agreed(candidates, package.sha256)
            && !fetcher.is_one_local_file(candidates)
    }

    /// Returns a kernel that qemu can boot, or the reason why it is not available.
    pub(super) async fn kernel_of(
        &self,
        asked: &Asked<'_>,
    ) -> Result<Result<Vec<u8>, Proven>, Halt> {
        let found = match &asked.kernel {
            KernelOf::Package { request, package } => self.packed(request, package).await?,
            KernelOf::Built(built) => match self.image_of(asked, built).await {
                Ok(kernel) => Ok(kernel),
                Err(Halt::Failed(failed)) => Err(Proven::None(failed.failure.message)),
                Err(halt) => return Err(halt),
            },
        };
        let kernel = match found {
            Ok(kernel) => kernel,
            Err(stopped) => return Ok(Err(stopped)),
        };
        let architecture = asked.build.kernel.architecture;
        let bootable = blocking(move || proof::bootable(kernel, architecture)).await;
        Ok(bootable.map_err(|why| Proven::None(format!("the kernel cannot be booted: {why}"))))
    }

    /// Returns the kernel in a package.
    async fn packed(
        &self,
        request: &Request,
        package: &Fetched,
    ) -> Result<Result<Vec<u8>, Proven>, Halt> {
        let sha256 = package.sha256;
        if !self.engine.has_whole_blob(sha256, Phase::Prove).await? {
            let again = Request {
                sha256: Some(sha256),
                ..request.clone()
            };
            match self.files.fetch(&again).await {
                Ok(_) => {}
                Err(Halt::Failed(failed)) => {
                    let why = &failed.failure.message;
                    return Ok(Err(Proven::None(not_available(why))));
                }
                Err(halt) => return Err(halt),
            }
        }
        let path = self.engine.store.blob_path(sha256);
        let stop = self.engine.stop.now().clone();
        let reading = move || {
            let limits = unpack::Limits::default();
            read_from_archive(&path, is_kernel_image, KERNEL_IMAGE_BYTES, &limits, &stop)
        };
        Ok(match self.read(request, package, reading).await? {
            Ok(Some(kernel)) => Ok(kernel),
            Ok(None) => Err(Proven::None(format!(
                "{} has no kernel in /boot or /lib/modules",
                package.url
            ))),
            Err(broken) => Err(broken),
        })
    }

    /// Reads the kernel package to its end before the kernel or a module is blamed: so far, only the part up to the
    /// image was read.
    pub(super) async fn confirm(&self, asked: &Asked<'_>) -> Result<Result<(), Proven>, Halt> {
        let KernelOf::Package { request, package } = asked.kernel else {
            return Ok(Ok(()));
        };
        let path = self.engine.store.blob_path(package.sha256);
        let stop = self.engine.stop.now().clone();
        let reading = move || check_archive(&path, &unpack::Limits::default(), &stop);
        self.read(request, package, reading).await
    }

    /// Runs `reading` on a package; a package that cannot be unpacked is refused.
    async fn read<T: Send + 'static>(
        &self,
        request: &Request,
        package: &Fetched,
        reading: impl FnOnce() -> Result<T, UnpackError> + Send + 'static,
    ) -> Result<Result<T, Proven>, Halt> {
        match blocking(reading).await {
            Ok(read) => Ok(Ok(read)),
            Err(UnpackError::Stopped) => Err(Halt::NotRun),
            Err(UnpackError::File(error)) => Err(self.engine.stored(Phase::Prove)(error)),
            Err(error) => {
                let why = error.to_string();
                let Fetched { sha256, url, .. } = package;
                self.files.refuse(&request.candidates, *sha256, &why)?;
                Ok(Err(Proven::Broken(format!(
                    "{url} cannot be unpacked: {why}"
                ))))
            }
        }
    }
}
