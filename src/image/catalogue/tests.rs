use super::*;

const AMD64: Architecture = Architecture::Amd64;
const ARM64: Architecture = Architecture::Arm64;

/// A catalogue of images, each of a name and the gcc versions that it has for amd64.
fn catalogue(images: &[(&str, &[&str])]) -> Catalogue {
    let images = images.iter().map(|(name, versions)| {
        let mut text = format!(
            "name = '{name}'\nhost-architecture = 'amd64'\npackages = ['make']\n\
             debian = {{ suite = 'bookworm', archives = ['main'] }}\n"
        );
        for version in *versions {
            let compiler = format!(
                "[[compiler]]\ngcc = '{version}'\narchitecture = 'amd64'\ncommand = 'gcc-{version}'\n"
            );
            text.push_str(&compiler);
        }
        ImageDescription::parse(&text, name).expect("a description")
    });
    Catalogue {
        images: images.collect(),
    }
}

#[test]
fn exact_then_nearest_lower_then_lowest() {
    let catalogue = catalogue(&[
        ("b", &["10", "12"]),
        ("c", &["10", "14"]),
        ("d", &["4.8.5"]),
    ]);
    for (wanted, image, command, reason) in [
        ("12", "b", "gcc-12", ChoiceReason::Exact),
        ("12.2.0", "b", "gcc-12", ChoiceReason::Exact),
        ("10", "b", "gcc-10", ChoiceReason::Exact),
        ("4.8", "d", "gcc-4.8.5", ChoiceReason::Exact),
        ("11", "b", "gcc-10", ChoiceReason::NearestLower),
        ("13", "b", "gcc-12", ChoiceReason::NearestLower),
        ("16", "c", "gcc-14", ChoiceReason::NearestLower),
        ("4.9", "d", "gcc-4.8.5", ChoiceReason::NearestLower),
        ("4.1.2", "d", "gcc-4.8.5", ChoiceReason::Lowest),
    ] {
        let wanted = wanted.parse().expect("a version");
        let choice = catalogue.choose(&wanted, AMD64, AMD64).expect("a compiler");
        let found = (choice.image.name.as_str(), choice.compiler.command.as_str());
        assert_eq!(
            (found, choice.reason),
            ((image, command), reason),
            "{wanted}"
        );
    }
}

#[test]
fn other_architectures_are_not_taken() {
    let catalogue = catalogue(&[("b", &["12"])]);
    let wanted = "12".parse().expect("a version");
    for (architecture, host) in [(ARM64, AMD64), (AMD64, ARM64)] {
        let error = catalogue
            .choose(&wanted, architecture, host)
            .expect_err("no compiler");
        assert_eq!(error, NoCompiler { architecture, host });
    }
}

#[test]
fn within_one_image_only_its_compilers_count() {
    let catalogue = catalogue(&[("b", &["10"]), ("c", &["12"])]);
    let wanted = "12".parse().expect("a version");
    let image = catalogue.get("driverkit-matrix/builder:b").expect("b");
    let choice = image.choose(&wanted, AMD64, AMD64).expect("a compiler");
    assert_eq!(choice.compiler.command, "gcc-10");
    assert_eq!(choice.reason, ChoiceReason::NearestLower);
}

/// The images of this repository: kernels of both architectures get the compiler that built them.
#[test]
fn own_images() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let catalogue = Catalogue::read(&folder).expect("the folder images/");
    for (wanted, image) in [
        ("10", "bullseye"),
        ("11", "bookworm"),
        ("12", "bookworm"),
        ("13", "trixie"),
        ("14", "trixie"),
        ("16", "sid"),
    ] {
        let wanted = wanted.parse().expect("a version");
        for architecture in Architecture::ALL {
            let choice = catalogue
                .choose(&wanted, architecture, AMD64)
                .expect("a compiler");
            assert_eq!(
                (choice.image.name.as_str(), choice.reason),
                (image, ChoiceReason::Exact)
            );
            let is_cross = architecture == ARM64;
            assert_eq!(
                choice.compiler.command.starts_with("aarch64-linux-gnu-"),
                is_cross
            );
            assert_eq!(choice.compiler.cross_prefix.is_empty(), !is_cross);
        }
    }
}

#[test]
fn bad_descriptions_are_refused() {
    let good = "name = 'a'\nhost-architecture = 'amd64'\npackages = ['make']\n\
                debian = { suite = 'sid', archives = ['main'] }\n\
                [[compiler]]\ngcc = '12'\narchitecture = 'amd64'\ncommand = 'gcc'\n";
    ImageDescription::parse(good, "a").expect("a good one");
    for (from, to, message) in [
        ("name = 'a'", "name = 'b'", "should be `a`"),
        ("name = 'a'", "nmae = 'a'", "unknown field `nmae`"),
        ("['make']", "[\"ma\\nke\"]", "line break"),
        ("['make']", "['']", "is empty"),
        ("gcc = '12'", "gcc = 'twelve'", "not a gcc version"),
        ("'main'", "'nightly'", "unknown variant `nightly`"),
    ] {
        let bad = good.replacen(from, to, 1);
        let error = ImageDescription::parse(&bad, "a").expect_err(&bad);
        assert!(error.to_string().contains(message), "{error}");
    }
    let (without, _) = good.split_once("[[compiler]]").expect("a compiler");
    assert!(ImageDescription::parse(&format!("{without}compiler = []\n"), "a").is_err());
}
