use super::*;

#[test]
fn bad_descriptions_are_refused() {
    let good = "name = 'a'\nhost-architecture = 'amd64'\npackages = ['make']\n\
                debian = { suite = 'sid', archives = ['main'] }\n\
                [[compiler]]\ngcc = '12'\narchitecture = 'amd64'\ncommand = 'gcc'\n";
    ImageDescription::parse(good, "a").expect("a good one");
    for (from, to, message) in [
        ("name = 'a'", "name = 'b'", "must be `a`"),
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

#[test]
fn built_in_descriptions_equal_those_in_the_images_directory() {
    let folder = Catalogue::read(Path::new("images")).expect("the project's folder");
    let own = Catalogue::of_the_project().expect("good descriptions");
    let names = |catalogue: &Catalogue| -> Vec<String> {
        let images = catalogue.images().iter();
        images.map(|image| image.name.clone()).collect()
    };
    assert_eq!(names(&own), names(&folder));
}
