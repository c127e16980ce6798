//! Finds Debian's kernels. A kernel has three packages: its own headers, headers that flavours share, and
//! `linux-kbuild`, whose programs run during a build.

use url::Url;

use super::super::error::DiscoverMirrorError;
use super::archive::{Archives, Index, Suite, is_image_name};
use super::index::{self, IndexPackage, find};
use super::{MirrorKernel, MirrorKernels, Question};
use crate::fetch::Fetcher;
use crate::kernel::{Architecture, Kernel, KernelVersion};
use crate::target::split_debian_abi;

/// The name of the flavour that has no name in packages.
const PLAIN: &str = "plain";

/// Returns the requested kernels. Each suite is read from the first of the `base_urls` that has it, so that security
/// suites can have an archive of their own.
pub async fn discover(
    fetcher: &Fetcher,
    base_urls: &[Url],
    question: Question<'_>,
) -> Result<MirrorKernels, DiscoverMirrorError> {
    let (required, optional): (Vec<_>, Vec<_>) = Architecture::ALL
        .into_iter()
        .partition(|architecture| question.architectures.contains(architecture));
    let archives = Archives {
        fetcher,
        base_urls,
        question,
        required: &required,
        // A machine of the other architecture can build a kernel with its own linux-kbuild.
        optional: &optional,
        is_wanted: |name| {
            name.starts_with("linux-headers-")
                || name.starts_with("linux-kbuild-")
                || is_image_name(name)
        },
    };
    let mut found = MirrorKernels::default();
    let suites = archives.read(&mut found.notices).await?;
    for suite in &suites {
        for &architecture in question.architectures {
            let Some(index) = suite.indexes.get(&architecture) else {
                continue;
            };
            let view = View {
                suite,
                architecture,
                index,
            };
            view.kernels(question, &mut found);
        }
    }
    Ok(found)
}

/// The packages of a suite for one architecture.
struct View<'a> {
    suite: &'a Suite,
    architecture: Architecture,
    index: &'a Index,
}

impl View<'_> {
    fn kernels(&self, question: Question<'_>, found: &mut MirrorKernels) {
        let mut kernels = Vec::new();
        for headers in &self.index.packages {
            let Some(flavour) = self.flavour(headers) else {
                continue;
            };
            if !question.wants_flavour(flavour) {
                continue;
            }
            // A meta package for the newest kernel of a line depends on the kernel's header package. It is not a header
            // package itself.
            let stands_for = headers
                .dependency(|name| name.starts_with("linux-headers-") && name != headers.name);
            if stands_for.is_some_and(|name| !name.contains("-common")) {
                continue;
            }
            match self.kernel(headers) {
                Ok(kernel) => kernels.push(MirrorKernel {
                    kernel,
                    suite: self.suite.name.clone(),
                    flavour: flavour.to_owned(),
                    version: headers.version.clone(),
                }),
                Err(reason) => found.notices.push(format!(
                    "{} {} of {} is skipped: {reason}",
                    headers.name, headers.version, self.suite.name
                )),
            }
        }
        found.add(kernels);
    }

    /// Returns the flavour of a package if it is the header package of one kernel.
    fn flavour<'b>(&self, package: &'b IndexPackage) -> Option<&'b str> {
        let architecture = self.architecture.as_str();
        if package.architecture != architecture {
            return None;
        }
        let (_, flavour) = split_debian_abi(package.name.strip_prefix("linux-headers-")?)?;
        let rest = flavour
            .strip_suffix(architecture)
            .map(|start| start.trim_end_matches('-'))
            .or_else(|| flavour.strip_prefix(architecture)?.strip_prefix('-'))
            // Kernels of the Raspberry Pi archive have names of machines: `rpi-v8`, `rpi-2712`.
            .or_else(|| flavour.starts_with("rpi-").then_some(flavour))?;
        Some(if rest.is_empty() { PLAIN } else { rest })
    }

    fn kernel(&self, headers: &IndexPackage) -> Result<Kernel, String> {
        let packages = &self.index.packages;
        let common = headers
            .dependency(|name| name.starts_with("linux-headers-") && name.contains("-common"))
            .ok_or("it does not depend on common headers")?;
        let common = find(packages, common, &headers.version)
            .ok_or_else(|| format!("{common} does not exist"))?;
        let kbuild_name = headers
            .dependency(|name| name.starts_with("linux-kbuild-"))
            .ok_or("it does not depend on linux-kbuild")?;
        let kbuild = find(packages, kbuild_name, &headers.version)
            .ok_or_else(|| format!("{kbuild_name} does not exist"))?;
        let mut wanted = vec![
            self.index.package(headers, None),
            self.index.package(common, None),
            self.index.package(kbuild, Some(self.architecture)),
        ];
        for (&other, index) in &self.suite.indexes {
            if other != self.architecture {
                let kbuild = find(&index.packages, kbuild_name, &headers.version);
                wanted.extend(kbuild.map(|kbuild| index.package(kbuild, Some(other))));
            }
        }
        let version = index::without_epoch(&headers.version);
        let uts_release = headers
            .name
            .strip_prefix("linux-headers-")
            .unwrap_or_default();
        let (_, flavour) = split_debian_abi(uts_release).ok_or("its name has no kernel release")?;
        let parsed = |error: crate::kernel::ParseKernelError| error.to_string();
        Ok(Kernel {
            target: "debian".parse().map_err(parsed)?,
            release: format!("{version}-{flavour}").parse().map_err(parsed)?,
            version: KernelVersion::default(),
            architecture: self.architecture,
            packages: wanted.into(),
            config_sha256: None,
            upstream: None,
            image: self.index.image(headers),
            source: "mirror".into(),
        })
    }
}
