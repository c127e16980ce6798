//! Reads kernels that the matrix itself contains.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;

use crate::diagnostic::Diagnostic;
use crate::digest::Sha256;
use crate::fs;
use crate::kernel::{Architecture, Kernel, Package, TargetId, Upstream};
use crate::matrix::{InlineKernel, Matrix, TargetEntry};
use crate::target;

/// The inline kernels of a `[[target]]` with their places in the file, and the paths of their configurations.
#[derive(Debug, Default)]
pub struct InlineKernels {
    /// The kernels.
    pub kernels: Vec<(Arc<Kernel>, Range<usize>)>,
    /// The file of each kernel configuration, by its digest.
    pub configs: BTreeMap<Sha256, PathBuf>,
}

/// Converts the inline kernels of `entry`. A kernel without an architecture gets one result for each architecture that
/// is possible.
pub fn expand_inline(
    matrix: &Matrix,
    entry: &TargetEntry,
    inline: &[Spanned<InlineKernel>],
) -> Result<InlineKernels, Vec<Diagnostic>> {
    let id: TargetId = match entry.name.get_ref().as_str().parse() {
        Ok(id) => id,
        Err(error) => {
            let place = matrix.place(entry.name.span());
            return Err(vec![Diagnostic::error(format!("{error}")).at(place, "")]);
        }
    };
    let mut expanded = InlineKernels::default();
    let mut diagnostics = Vec::new();
    for spanned in inline {
        let place = || matrix.place(spanned.span());
        let kernel = spanned.get_ref();
        let config_sha256 = match kernel
            .config
            .as_ref()
            .map(|path| (path, fs::read_file(path)))
        {
            None => None,
            Some((path, Ok(content))) => {
                let digest = Sha256::of(content);
                expanded.configs.insert(digest, path.clone());
                Some(digest)
            }
            Some((_, Err(error))) => {
                let message = format!("the configuration of kernel {}: {error}", kernel.release);
                diagnostics.push(Diagnostic::error(message).at(place(), ""));
                continue;
            }
        };
        match architectures(&id, entry, kernel) {
            Err(message) => diagnostics.push(Diagnostic::error(message).at(place(), "")),
            Ok(architectures) => {
                for architecture in architectures {
                    let kernel = Kernel {
                        target: id.clone(),
                        release: kernel.release.clone(),
                        version: kernel.version.clone(),
                        architecture,
                        packages: kernel.headers.iter().cloned().map(Package::at).collect(),
                        config_sha256,
                        upstream: kernel
                            .upstream
                            .clone()
                            .map(|version| Box::new(Upstream { version, gcc: None })),
                        image: kernel.image.clone().map(|url| Box::new(Package::at(url))),
                        source: "inline".into(),
                    };
                    expanded.kernels.push((Arc::new(kernel), spanned.span()));
                }
            }
        }
    }
    if diagnostics.is_empty() {
        Ok(expanded)
    } else {
        Err(diagnostics)
    }
}

/// Returns the architectures of a kernel: the one that it names, or else those of its target that match its release and
/// the names of its packages. If packages are named, the release is never rejected.
fn architectures(
    id: &TargetId,
    entry: &TargetEntry,
    kernel: &InlineKernel,
) -> Result<Vec<Architecture>, String> {
    let check = |architecture| {
        let checked = target::check_release(id, &kernel.release, architecture);
        checked.map_err(|error| error.to_string())
    };
    let is_named = !kernel.headers.is_empty();
    if let Some(architecture) = kernel.architecture {
        if !is_named {
            check(architecture)?;
        }
        return Ok(vec![architecture]);
    }
    let all = entry.architectures.iter().copied();
    let (good, bad): (Vec<_>, Vec<_>) = all
        .map(|architecture| check(architecture).map(|()| architecture))
        .partition(Result::is_ok);
    let mut good: Vec<Architecture> = good.into_iter().filter_map(Result::ok).collect();
    if is_named && good.is_empty() {
        good.clone_from(&entry.architectures);
    }
    if good.is_empty() {
        let reasons: Vec<String> = bad.into_iter().filter_map(Result::err).collect();
        return Err(format!(
            "kernel release `{}`: {}",
            kernel.release,
            reasons.join("; ")
        ));
    }
    let said: Vec<Architecture> = kernel
        .headers
        .iter()
        .filter_map(|url| target::architecture_of_file(&crate::kernel::file_name(url)))
        .filter(|architecture| good.contains(architecture))
        .collect();
    // The packages of a kernel may contain programs for another machine.
    if good.len() > 1
        && !said.is_empty()
        && !(Architecture::ALL.iter().all(|one| said.contains(one)))
    {
        good.retain(|architecture| said.contains(architecture));
    }
    Ok(good)
}
