//! A single build as requested from driverkit, validated.

use std::path::PathBuf;

use super::images::{ImageRequest, images};
use super::names::{
    check_package_url, check_repository_name, parse_kernel_config, parse_output,
    parse_released_version,
};
use super::reader::Reader;
use super::values::Values;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::digest::Sha256;
use crate::driver::{
    Artifact, DEFAULT_NAME, Driver, DriverLocation, check_device_name, check_module_name, url_of,
};
use crate::kernel::{
    Architecture, Kernel, KernelRelease, KernelVersion, Package, ParseKernelError, TargetId,
};
use crate::plan::supports;
use crate::target;

/// An output file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The artifact that it will contain.
    pub artifact: Artifact,
    /// The absolute path.
    pub path: PathBuf,
}

/// A single build, validated.
#[derive(Clone, Debug)]
pub struct Request {
    /// The kernel, with the given packages.
    pub kernel: Kernel,
    /// The content of the kernel's `.config`, if given.
    pub kernel_config: Option<Vec<u8>>,
    /// The driver.
    pub driver: Driver,
    /// The output files, the module before the probe.
    pub outputs: Vec<Output>,
    /// The builder image and the sources of images.
    pub images: ImageRequest,
    /// Notices for the user.
    pub warnings: Vec<String>,
}

impl Request {
    /// Validates the values; the error has all faults.
    pub fn read(values: &Values) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader::new(values);
        let driver = driver(&mut reader);
        let kernel_config = reader.parsed("kernelconfigdata", parse_kernel_config);
        let kernel = kernel(&mut reader, kernel_config.as_deref());
        let outputs = outputs(&mut reader);
        let images = images(&mut reader);
        let is_redhat = kernel
            .as_ref()
            .is_some_and(|kernel| kernel.target.as_str() == "redhat");
        if is_redhat && values.text("builderimage").is_none() {
            let fault = Diagnostic::error(
                "target redhat needs an image with access to Red Hat's packages: `builderimage` is missing",
            );
            reader.faults.push(fault);
        }
        let faults = reader.faults;
        let (Some(kernel), Some(driver), true) = (kernel, driver, faults.is_empty()) else {
            return Err(faults);
        };
        let (outputs, mut warnings) = supported(outputs, &kernel, &driver)?;
        let rules = target::rules_of(&kernel);
        warnings.extend(target::doubt_of_release(&kernel));
        warnings.extend(rules.and_then(|rules| rules.remark(&kernel)));
        Ok(Self {
            kernel,
            kernel_config,
            driver,
            outputs,
            images,
            warnings,
        })
    }
}

/// Returns the outputs that the kernel and the driver support, and a warning for each other one.
fn supported(
    outputs: Vec<Output>,
    kernel: &Kernel,
    driver: &Driver,
) -> Result<(Vec<Output>, Vec<String>), Vec<Diagnostic>> {
    let mut warnings = Vec::new();
    let mut faults = Vec::new();
    let mut kept = Vec::new();
    for output in outputs {
        match supports(kernel, &driver.version, output.artifact) {
            Ok(()) => kept.push(output),
            Err(reason) => {
                faults.push(Diagnostic::error(format!("nothing can be built: {reason}")));
                warnings.push(format!("no {} is built: {reason}", output.artifact));
            }
        }
    }
    if kept.is_empty() {
        Err(faults)
    } else {
        Ok((kept, warnings))
    }
}

fn driver(reader: &mut Reader<'_>) -> Option<Driver> {
    let organisation = reader.parsed("repo-org", repository_name);
    let repository = reader.parsed("repo-name", repository_name);
    let folder = reader.parsed("src-dir", |text| {
        let path = std::path::absolute(text).map_err(|error| error.to_string())?;
        if path.exists() {
            Ok(path)
        } else {
            Err(format!("{text} does not exist"))
        }
    });
    let version = if reader.values.text("driverversion").is_none() {
        "master".parse().ok()
    } else if folder.is_some() {
        reader.parsed("driverversion", |text| {
            text.parse()
                .map_err(|error: crate::driver::ParseDriverVersionError| error.to_string())
        })
    } else {
        reader.parsed("driverversion", parse_released_version)
    };
    let module_name = reader.parsed("moduledrivername", check_module_name);
    let device_name = reader.parsed("moduledevicename", check_device_name);
    let version = version?;
    let location = folder.map_or_else(
        || {
            let organisation = organisation.as_deref().unwrap_or("falcosecurity");
            let repository = repository.as_deref().unwrap_or("libs");
            DriverLocation::Url(url_of(organisation, repository, &version))
        },
        DriverLocation::Path,
    );
    Some(Driver {
        version,
        location,
        module_name: module_name.unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        device_name: device_name.unwrap_or_else(|| DEFAULT_NAME.to_owned()),
    })
}

fn repository_name(text: &str) -> Result<String, String> {
    check_repository_name(text).map(|()| text.to_owned())
}

/// Reads the kernel of a build, which has to be supported.
fn kernel(reader: &mut Reader<'_>, config: Option<&[u8]>) -> Option<Kernel> {
    let kernel = named_kernel(reader, config, true)?;
    // For given packages, the release is checked against their tree instead.
    if kernel.packages.is_empty()
        && let Err(error) =
            target::check_release(&kernel.target, &kernel.release, kernel.architecture)
    {
        reader.fault("kernelrelease", &error.to_string());
        return None;
    }
    Some(kernel)
}

/// Reads the kernel of the keys, supported or not. With `is_to_be_built`, values that only a build needs are required
/// too.
pub(super) fn named_kernel(
    reader: &mut Reader<'_>,
    config: Option<&[u8]>,
    is_to_be_built: bool,
) -> Option<Kernel> {
    let text_of = |error: crate::kernel::ParseKernelError| error.to_string();
    let target = target_id(reader);
    let architecture = reader
        .parsed("architecture", |text| text.parse().map_err(text_of))
        .unwrap_or_else(Architecture::of_host);
    let release = reader.required("kernelrelease", |text| {
        if text.is_ascii() {
            text.parse().map_err(text_of)
        } else {
            Err(format!("`{text}` contains characters that are not ASCII"))
        }
    });
    let version = reader.parsed("kernelversion", |text| text.parse().map_err(text_of));
    let urls = reader.list("kernelurls", check_package_url);
    let target = target?;
    let is_emptied = reader
        .values
        .given("kernelversion")
        .is_some_and(|given| given.items.is_empty());
    if target.as_str().starts_with("ubuntu") && is_emptied {
        reader.fault(
            "kernelversion",
            &format!("it may not be empty for target {target}"),
        );
    }
    let version = match (version, &release) {
        (None, Some(release)) if is_to_be_built && needs_version(&target, &urls) && !is_emptied => {
            let own = version_of_this_machine(release);
            if own.is_none() {
                let fault = Diagnostic::error(format!(
                    "target {target} needs the kernel's version: `kernelversion` is missing"
                ));
                let help = "the URLs of its packages contain it: give the number after `#` in `uname -v` of such a \
                    machine, as in --kernelversion 45";
                reader.faults.push(fault.help(help));
            }
            own
        }
        (version, _) => version,
    };
    let needs_config = is_to_be_built
        && target::find(&target).is_some_and(target::Target::needs_config)
        && !urls.iter().any(|url| target::is_header_package(url));
    if needs_config && reader.values.text("kernelconfigdata").is_none() {
        let fault = Diagnostic::error(format!(
            "target {target} needs the kernel's configuration: `kernelconfigdata` is missing"
        ));
        let help = "give the base64 form of the kernel's .config: `base64 -w0 /boot/config-$(uname -r)`, or of /proc/config.gz unpacked";
        reader.faults.push(fault.help(help));
    }
    let package = |url: &String| Package::at(url.as_str());
    Some(Kernel {
        target,
        release: release?,
        version: version.unwrap_or_default(),
        architecture,
        packages: urls.iter().map(package).collect(),
        config_sha256: config.map(Sha256::of),
        upstream: None,
        image: None,
        source: "driverkit".into(),
    })
}

/// Returns true if the packages of a kernel cannot be found without its version.
fn needs_version(target: &TargetId, urls: &[String]) -> bool {
    target.as_str().starts_with("ubuntu") && urls.is_empty()
}

/// Returns the version of the running kernel, if it has this release.
pub fn version_of_this_machine(release: &KernelRelease) -> Option<KernelVersion> {
    let uname = rustix::system::uname();
    let (own, version) = (uname.release().to_str(), uname.version().to_str());
    version_of_uname(release, own.ok()?, version.ok()?)
}

/// Like [`version_of_this_machine`], for given results of `uname -r` and `uname -v`.
fn version_of_uname(release: &KernelRelease, own: &str, version: &str) -> Option<KernelVersion> {
    if own != release.as_str() {
        return None;
    }
    match version.parse::<KernelVersion>() {
        Ok(version) => Some(version),
        Err(ParseKernelError::Version { meant, .. }) => meant?.parse().ok(),
        Err(_) => None,
    }
}

fn target_id(reader: &mut Reader<'_>) -> Option<TargetId> {
    let id: TargetId = reader.required("target", |text| {
        text.parse()
            .map_err(|error: crate::kernel::ParseKernelError| error.to_string())
    })?;
    if target::is_known(&id) || id.as_str().starts_with("ubuntu") {
        return Some(id);
    }
    let help = target::hint_for(id.as_str())
        .or_else(|| did_you_mean(id.as_str(), target::known_ids()))
        .or_else(|| {
            let known = target::known_ids().join(", ");
            Some(format!(
                "known targets: {known}; `generic` takes a kernel of your own, with `kernelurls`"
            ))
        });
    reader.fault_with_help("target", &format!("target `{id}` is unknown"), help);
    None
}

fn outputs(reader: &mut Reader<'_>) -> Vec<Output> {
    let mut outputs = Vec::new();
    for (key, artifact) in [
        ("output-module", Artifact::Module),
        ("output-probe", Artifact::Probe),
    ] {
        let path = reader.parsed(key, |text| parse_output(text, artifact.extension()));
        outputs.extend(path.map(|path| Output { artifact, path }));
    }
    let is_given = |key| reader.values.text(key).is_some();
    if !is_given("output-module") && !is_given("output-probe") {
        let fault = Diagnostic::error("there is nothing to build: `output-module` is missing");
        let help = "give it with --output-module PATH.ko, DRIVERKIT_OUTPUT_MODULE, or `output:` and below it `module: PATH.ko`";
        reader.faults.push(fault.help(help));
    }
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_uname_for_the_running_release_only() {
        let release = "5.15.0-91-generic".parse().unwrap();
        let version = |own, text| {
            let version = version_of_uname(&release, own, text);
            version.map(|version| version.to_string())
        };
        let own = "5.15.0-91-generic";
        for (text, expected) in [
            ("#101-Ubuntu SMP Tue Nov 14 13:30:08 UTC 2023", Some("101")),
            ("#101~20.04.1-Ubuntu SMP Tue Nov 14", Some("101~20.04.1")),
            ("no number", None),
        ] {
            assert_eq!(version(own, text).as_deref(), expected, "{text}");
        }
        assert_eq!(version("5.15.0-92-generic", "#101-Ubuntu SMP"), None);
    }
}
