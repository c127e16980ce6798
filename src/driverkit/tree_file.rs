//! Reads one file of a tree: the keys of a single build, checked against the path of the file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Image;
use super::file::{read_file, several_documents};
use super::images::image;
use super::names::{check_output_name, parse_gcc, parse_kernel_config, parse_released_version};
use super::reader::Reader;
use super::request::named_kernel;
use super::tree::{Layout, TreeFile};
use super::values::{Origin, Values};
use crate::diagnostic::{Diagnostic, Place, SourceFile};
use crate::driver::{Artifact, DEFAULT_NAME, DriverVersion, check_device_name, check_module_name};
use crate::fs;
use crate::kernel::{Architecture, Kernel};

/// Keys that affect a single build but have no counterpart in a kernel or a matrix.
const OTHERS: [&str; 4] = ["builderrepo", "repo-name", "repo-org", "src-dir"];

/// driverkit's placeholders for a missing configuration, plain and in base64.
const NO_CONFIG: [&str; 2] = ["no-data", "bm8tZGF0YQ=="];

/// Reads a file; the error has all faults, each with its position.
pub(super) fn read_tree_file(path: &Path, layout: &Layout) -> Result<TreeFile, Vec<Diagnostic>> {
    let text =
        fs::read_to_string(path).map_err(|error| vec![Diagnostic::error(error.to_string())])?;
    let file = Arc::new(SourceFile {
        path: path.to_owned(),
        text,
    });
    if let Some(fault) = several_documents(&file) {
        return Err(vec![fault.help("use a separate file for each build")]);
    }
    let (of_file, _) = read_file(&file)?;
    let values = Values::merge(&BTreeMap::new(), |_| None, of_file);
    let mut reader = Reader::new(&values);
    let read = read_values(&mut reader, path, layout);
    let start = Place { file, span: 0..0 };
    let at_file = |fault: Diagnostic| match fault.place() {
        Some(_) => fault,
        None => fault.at(start.clone(), ""),
    };
    let faults: Vec<Diagnostic> = reader.faults.into_iter().map(at_file).collect();
    match read {
        Some(file) if faults.is_empty() => Ok(file),
        _ => Err(faults),
    }
}

fn read_values(reader: &mut Reader<'_>, path: &Path, layout: &Layout) -> Option<TreeFile> {
    check_architecture(reader, layout.architecture);
    let config = reader.parsed("kernelconfigdata", |text| {
        if NO_CONFIG.contains(&text) {
            return Ok(None);
        }
        parse_kernel_config(text).map(Some)
    });
    let config = config.flatten();
    let kernel = named_kernel(reader, config.as_deref(), false);
    let driver = driver_version(reader, layout);
    let module_name = reader.parsed("moduledrivername", check_module_name);
    let device_name = reader.parsed("moduledevicename", check_device_name);
    let gcc = reader.parsed("gccversion", parse_gcc);
    let mut other_keys: Vec<&'static str> = OTHERS
        .into_iter()
        .filter(|key| !reader.values.items(key).is_empty())
        .collect();
    let image = match image(reader) {
        Image::Named(name) => Some(name),
        Image::Automatic => None,
        // A matrix has names of images, but no tags.
        Image::Tagged(_) => {
            other_keys.push("builderimage");
            None
        }
    };
    let mut kernel = kernel?;
    kernel.source = "driverkit".into();
    let mut file = TreeFile {
        path: path.to_owned(),
        folder: layout
            .architecture
            .and_then(|_| path.ancestors().nth(2))
            .map(|folder| Path::new(".").join(folder)),
        driver,
        release_span: span_of(reader, "kernelrelease"),
        config,
        artifacts: Vec::new(),
        module_name,
        device_name,
        gcc: gcc.map(|gcc| gcc.to_string()),
        image,
        other_keys,
        kernel,
    };
    read_outputs(reader, &mut file, layout);
    if layout.architecture.is_some() {
        check_name(reader, path, &file.kernel);
    }
    Some(file)
}

fn span_of(reader: &Reader<'_>, key: &str) -> std::ops::Range<usize> {
    match reader.values.given(key).map(|given| &given.origin) {
        Some(Origin::File(place)) => place.span.clone(),
        _ => 0..0,
    }
}

/// Checks the architecture, which is required: a tree must not depend on the machine that reads it.
fn check_architecture(reader: &mut Reader<'_>, of_folder: Option<Architecture>) {
    let Some(text) = reader.values.text("architecture") else {
        let wanted = of_folder.map_or("amd64", Architecture::as_str);
        let fault = Diagnostic::error("`architecture` is missing");
        reader
            .faults
            .push(fault.help(format!("write `architecture: {wanted}`")));
        return;
    };
    let Some(folder) = of_folder else {
        return;
    };
    if text
        .parse()
        .is_ok_and(|found: Architecture| found != folder)
    {
        reader.fault_with_help(
            "architecture",
            &format!("{text} does not match the directory {}", folder.machine()),
            Some(format!(
                "write `architecture: {folder}`, or move the file to the directory of its architecture"
            )),
        );
    }
}

/// Returns the version of the directory; in another layout, the one in the file.
fn driver_version(reader: &mut Reader<'_>, layout: &Layout) -> Option<DriverVersion> {
    let named = reader.parsed("driverversion", |text| match &layout.version {
        None => parse_released_version(text),
        Some(folder) if folder == text => text
            .parse()
            .map_err(|error: crate::driver::ParseDriverVersionError| error.to_string()),
        Some(folder) => Err(format!("{text} does not match the directory {folder}")),
    });
    let Some(folder) = &layout.version else {
        return named;
    };
    match folder.parse() {
        Ok(version) => Some(version),
        Err(error) => {
            reader.faults.push(Diagnostic::error(format!(
                "the name of the directory is not a driver version: {error}"
            )));
            None
        }
    }
}

/// Reads the requested artifacts. In dbg-go's layout, the file names are checked.
fn read_outputs(reader: &mut Reader<'_>, file: &mut TreeFile, layout: &Layout) {
    for (key, artifact) in [
        ("output-module", Artifact::Module),
        ("output-probe", Artifact::Probe),
    ] {
        let known = file.module_name.clone();
        let name = reader.parsed(key, |text| {
            check_output_name(text, artifact.extension())?;
            check_output(text, artifact, &file.kernel, known.as_deref(), layout)
        });
        if let Some(name) = name {
            file.artifacts.push(artifact);
            file.module_name = file.module_name.take().or(name);
        }
    }
}

/// Checks an output path in dbg-go's layout, and returns the name of the module in it.
fn check_output(
    text: &str,
    artifact: Artifact,
    kernel: &Kernel,
    module: Option<&str>,
    layout: &Layout,
) -> Result<Option<String>, String> {
    let Some(architecture) = layout.architecture else {
        return Ok(None);
    };
    let path = Path::new(text);
    let (target, release, version) = (&kernel.target, &kernel.release, &kernel.version);
    let end = format!("{target}_{release}_{version}.{}", artifact.extension());
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let found = file.strip_suffix(&format!("_{end}"));
    let expected = module.or(found).unwrap_or(DEFAULT_NAME);
    if found != Some(expected) {
        return Err(format!(
            "`{file}` is not the artifact name {expected}_{end}"
        ));
    }
    check_module_name(expected)?;
    let mut folders = path.ancestors().skip(1).map(|folder| {
        let name = folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    });
    let machine = architecture.machine();
    if folders.next().as_deref() != Some(machine) {
        return Err(format!("`{text}` is not in a directory {machine}"));
    }
    let above = folders.next();
    match &layout.version {
        Some(version) if above.as_ref() != Some(version) => Err(format!(
            "`{text}` is not in a directory {version}/{machine}"
        )),
        _ => Ok(Some(expected.to_owned())),
    }
}

/// Checks that the name of the file matches its content.
fn check_name(reader: &mut Reader<'_>, path: &Path, kernel: &Kernel) {
    let (target, release, version) = (&kernel.target, &kernel.release, &kernel.version);
    let expected = format!("{target}_{release}_{version}.yaml");
    let found = path.file_name().unwrap_or_default().to_string_lossy();
    if found != expected {
        let fault = Diagnostic::error(format!(
            "the file is named {found}, but its keys require {expected}"
        ));
        reader
            .faults
            .push(fault.help("rename the file, or correct the keys"));
    }
}
