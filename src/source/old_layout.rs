//! Sources from before the driver had its own CMake project: `driver/` with a `Makefile.in`.
//!
//! They are configured by filling in names, which needs neither a job nor a compiler: the Makefile is created from its
//! template, and a `driver_config.h` as CMake would write it.

use std::fmt::Write as _;
use std::path::Path;

use super::copy::copy_folder;
use super::layout::{MOST_FILE_BYTES, SourceError};
use crate::driver::Driver;
use crate::fs::{self, ForeignError, ForeignFolder};

/// Writes the configured driver of the sources in `source` (a directory that contains `driver/`) into the directory
/// `into`, in the layout of flat sources.
pub fn configure_old(source: &Path, driver: &Driver, into: &Path) -> Result<(), SourceError> {
    let from = source.join("driver");
    copy_folder(&from, into)?;
    let files = ForeignFolder::open(&from)?;
    let template = files.read(Path::new("Makefile.in"), MOST_FILE_BYTES)?;
    let template = String::from_utf8_lossy(&template);
    fs::write(
        &into.join("Makefile"),
        fill_in(&template, &driver.module_name),
    )?;
    fs::write(
        &into.join("driver_config.h"),
        driver_config(&files, &from, driver)?,
    )?;
    Ok(())
}

/// Returns the template with the module's name filled in for any spelling of the placeholder; other placeholders are
/// left empty.
fn fill_in(template: &str, module_name: &str) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('@') {
        text.push_str(before);
        let name = after.split_once('@').filter(|(name, _)| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit())
        });
        if let Some((name, after)) = name {
            if matches!(name, "DRIVER_NAME" | "PROBE_NAME") {
                text.push_str(module_name);
            }
            rest = after;
        } else {
            // An `@` that belongs to a recipe.
            text.push('@');
            rest = after;
        }
    }
    text.push_str(rest);
    text
}

/// Returns the header with all definitions that a driver needs, under old and new names.
fn driver_config(
    files: &ForeignFolder,
    source: &Path,
    driver: &Driver,
) -> Result<String, SourceError> {
    let mut text = "#pragma once\n".to_owned();
    let mut has_versions = true;
    for (file, prefix) in [("API_VERSION", "PPM_API"), ("SCHEMA_VERSION", "PPM_SCHEMA")] {
        let line = match files.read_text(Path::new(file), MOST_FILE_BYTES) {
            Ok(line) => line,
            Err(ForeignError::Missing(_)) => {
                has_versions = false;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let numbers = line.lines().next().unwrap_or_default().trim().split('.');
        let numbers: Vec<u32> = numbers.map_while(|number| number.parse().ok()).collect();
        let is_whole = line
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .split('.')
            .count()
            == 3;
        let (&[major, minor, patch], true) = (&*numbers, is_whole) else {
            return Err(SourceError::Version(source.join(file)));
        };
        for (name, number) in [("MAJOR", major), ("MINOR", minor), ("PATCH", patch)] {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "#define {prefix}_CURRENT_VERSION_{name} {number}");
        }
    }
    if has_versions {
        text.push_str("#include \"ppm_api_version.h\"\n");
    }
    let version = driver.version.as_str();
    for (name, value) in [
        ("VERSION", version),
        ("COMMIT", version),
        ("NAME", &driver.module_name),
        ("DEVICE_NAME", &driver.device_name),
    ] {
        // Names and versions contain neither quotes nor backslashes.
        let _ = writeln!(
            text,
            "#define DRIVER_{name} \"{value}\"\n#define PROBE_{name} \"{value}\""
        );
    }
    text.push_str("#ifndef KBUILD_MODNAME\n#define KBUILD_MODNAME DRIVER_NAME\n#endif\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::DriverLocation;
    use crate::source::{Layout, read_configured_driver, read_source};

    fn driver() -> Driver {
        Driver {
            version: "0.1.0".parse().unwrap(),
            location: DriverLocation::Path("x".into()),
            module_name: "mine".to_owned(),
            device_name: "dev".to_owned(),
        }
    }

    #[test]
    fn old_sources_are_configured_by_filling_in_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(&folder.path().join(name), text).unwrap();
        write(
            "libs-1/driver/Makefile.in",
            "@PROBE_NAME@-y += main.o ppm_events.o\nobj-m += @PROBE_NAME@.o\nccflags-y := @KBUILD_FLAGS@\n\
             all:\n\t@echo a@b\n\t$(MAKE) -C $(KERNELDIR) M=$(TOP) modules\n",
        );
        write("libs-1/driver/main.c", "");
        write("libs-1/driver/API_VERSION", "1.2.3\n");
        write("libs-1/driver/SCHEMA_VERSION", "4.5.6\n# more\n");
        write("libs-1/driver/bpf/probe.c", "");
        write("libs-1/driver/bpf/Makefile", "all:\n");
        let source = read_source(folder.path()).unwrap();
        assert_eq!(source.layout, Layout::Old);
        assert!(source.has_probe);
        let into = folder.path().join("configured");
        configure_old(&source.folder, &driver(), &into).unwrap();
        let makefile = fs::read_to_string(&into.join("Makefile")).unwrap();
        assert!(
            makefile.starts_with("mine-y += main.o ppm_events.o\nobj-m += mine.o\nccflags-y := \n")
        );
        assert!(makefile.contains("\t@echo a@b\n"), "{makefile}");
        let config = fs::read_to_string(&into.join("driver_config.h")).unwrap();
        for line in [
            "#define PPM_API_CURRENT_VERSION_PATCH 3",
            "#define PPM_SCHEMA_CURRENT_VERSION_MAJOR 4",
            "#include \"ppm_api_version.h\"",
            "#define DRIVER_VERSION \"0.1.0\"",
            "#define PROBE_NAME \"mine\"",
            "#define DRIVER_DEVICE_NAME \"dev\"",
        ] {
            assert!(
                config.lines().any(|found| found == line),
                "{line}: {config}"
            );
        }
        let configured = read_configured_driver(&into).unwrap();
        assert_eq!(configured.module_name, "mine");
        assert!(configured.has_probe);
    }

    #[test]
    fn missing_versions_are_left_out_and_invalid_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = ForeignFolder::open(folder.path()).unwrap();
        let config = || driver_config(&files, folder.path(), &driver());
        assert!(!config().unwrap().contains("ppm_api_version.h"));
        for bad in ["1.2", "one", "", "1.2.3.4", "1.2.-3"] {
            fs::write(&folder.path().join("API_VERSION"), bad).unwrap();
            let error = config().unwrap_err();
            assert!(error.to_string().contains("API_VERSION"), "{error}");
        }
    }
}
