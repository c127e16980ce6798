//! Builds the kernel itself from a kernel source, to load modules into it: one job for each source, configuration and
//! toolchain, as for the header tree, but it takes minutes.

use std::time::Duration;

use crate::cache::{ArtifactFacts, StepResult};
use crate::digest::{KeyBuilder, Sha256};
use crate::engine::ended::script_failure;
use crate::engine::halt::{Halt, Mode};
use crate::engine::work::unexpected;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::{self, blocking};
use crate::plan::{Build, BuildSettings};
use crate::recipe::kernel::prepare::{Preparer, key_of_source, prepare_settings};
use crate::recipe::kernel::tree::KernelSource;
use crate::recipe::toolchain::ChosenToolchain;
use crate::script;

/// The minimum limits for building a kernel, whatever the limits of a build's steps are: thousands of files are
/// compiled.
const TIMEOUT: Duration = Duration::from_hours(3);
const MEMORY_BYTES: u64 = 4 << 30;

impl Preparer {
    /// Returns the digest of the kernel of a source for one toolchain, built once and then cached, and the key of the
    /// step that built it.
    pub(crate) async fn own_image(
        &self,
        build: &Build,
        source: &KernelSource,
        toolchain: &ChosenToolchain,
        mode: Mode,
    ) -> Result<(Sha256, Sha256), Halt> {
        let phase = Phase::Prove;
        let settings = prepare_settings(build, source, toolchain);
        let script = script::render_kernel(&settings).map_err(|error| script_failure(&error))?;
        let key = KeyBuilder::new("kernel", 1);
        let inputs =
            key_of_source(key, build, source, toolchain).field("script", Sha256::of(&script));
        let engine = self.engine();
        let work = async {
            let request = self.request(build, source, toolchain, (phase, &script));
            let request = request.await?;
            let build = with_limits(build);
            let result = engine.jobs.run_once(&build, &request, &inputs).await?;
            let path = result.output.path().join(script::KERNEL_FILE);
            let store = engine.store.clone();
            let put = blocking(move || match fs::open_file(&path) {
                Ok(file) => store.put_blob(file).map(Some),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(fs::FileError::of("read", &path)(error)),
            });
            let Some((sha256, size_bytes)) = put.await.map_err(engine.stored(phase))? else {
                let message = "the script succeeded but produced no kernel";
                return Err(result.failed(Failure::new(
                    FailureClass::OutputMissing,
                    phase,
                    message,
                )));
            };
            Ok(result.work(StepResult::Artifact(ArtifactFacts {
                sha256,
                size_bytes,
                vermagic: None,
                srcversion: None,
            })))
        };
        let done = engine
            .step(mode, phase, inputs.clone(), Box::pin(work))
            .await?;
        match done.result()? {
            StepResult::Artifact(facts) => Ok((facts.sha256, done.key)),
            other => Err(unexpected(other, phase)),
        }
    }
}

/// Returns the build with the minimum limits for a kernel.
fn with_limits(build: &Build) -> Build {
    let given = &*build.settings;
    let settings = BuildSettings {
        timeout: given.timeout.max(TIMEOUT),
        memory_bytes: given.memory_bytes.max(MEMORY_BYTES),
        output_bytes: Some(given.output_bytes.unwrap_or_default().max(2 * MEMORY_BYTES)),
        ..given.clone()
    };
    Build {
        settings: settings.into(),
        ..build.clone()
    }
}
