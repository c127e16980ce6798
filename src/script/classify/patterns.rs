//! Patterns of relevant lines in logs.

use std::sync::LazyLock;

use regex::Regex;

pub(super) struct Patterns {
    pub(super) entering: Regex,
    pub(super) leaving: Regex,
    pub(super) compiler: Regex,
    pub(super) internal_error: Regex,
    pub(super) assembler: Regex,
    pub(super) objtool: Regex,
    pub(super) btf: Regex,
    pub(super) tree: Regex,
    pub(super) compiler_without_place: Regex,
    pub(super) modpost: Regex,
    pub(super) linker: Regex,
    pub(super) cmake: Regex,
    pub(super) make_stop: Regex,
    pub(super) program: Regex,
    pub(super) make_program: Regex,
    pub(super) foreign: Regex,
    pub(super) flag: Regex,
    pub(super) library: Regex,
    pub(super) refused: Regex,
    pub(super) not_found_status: Regex,
    pub(super) header: Regex,
    pub(super) sanitizer: Regex,
    pub(super) not_executable: Regex,
    pub(super) noise: Regex,
}

pub(super) static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the patterns are constants")]
    let pattern = |text: &str| Regex::new(text).expect("a valid pattern");
    Patterns {
        entering: pattern(r"^make(?:\[\d+\])?: Entering directory '(.+)'$"),
        leaving: pattern(r"^make(?:\[\d+\])?: Leaving directory '"),
        compiler: pattern(r"^([^\s:][^:]*):(\d+):(?:\d+:)? (?:fatal )?error: (.+)$"),
        internal_error: pattern(
            r"^([^\s:][^:]*)(?::(\d+))?(?::\d+)?: (internal compiler error: .+)$",
        ),
        // gas: `main.s: Fatal error: ...`, `{standard input}:12: Fatal error: ...`, `{standard input}:12: Error: ...`.
        assembler: pattern(
            r"^([^\s:]+|\{standard input\})(?::(\d+))?: (?:Fatal error|Error): (.+)$",
        ),
        objtool: pattern(r"^(\S+): error: (objtool: .+)$|^error: (objtool: .+)$"),
        btf: pattern(
            r"^(libbpf: (?:failed|Error|error).*|Failed to parse base BTF.*|FAILED: load BTF.*)$",
        ),
        tree: pattern(
            r"(Kernel configuration is invalid)|fatal error: (\S*generated/(?:autoconf|rustc_cfg|uapi/\S+|asm/\S+)\S*: No such file or directory)|(No rule to make target ['‘]\S*(?:include/config/auto\.conf|include/generated/\S+)['’])",
        ),
        compiler_without_place: pattern(
            r"^(?:\S*gcc\S*|\S*clang\S*|cc1(?:plus)?|llc|\S*[/-]as|\S*objcopy|\S*strip): (?:fatal )?(?:error: )+(.+)$",
        ),
        modpost: pattern(
            r#"^(?:ERROR|FATAL): (?:modpost: )?(?:"([^"]+)" \[([^\]]+)\] (undefined!)|(.+))$"#,
        ),
        linker: pattern(r"^(\S*(?:[/-]|\b)ld(?:\.\w+)?): (.+)$"),
        cmake: pattern(r"^CMake Error(?: at (.+?):(\d+) \(.+\))?:\s*(.*)$"),
        make_stop: pattern(r"^(?:([^\s:]+):(\d+)|make(?:\[\d+\])?): \*\*\* (.+?)\.?  Stop\.$"),
        program: pattern(
            r"(?:^|: )(?:line )?(?:\d+: )?([^\s:]+): (?:command )?not found$|^env: ['‘](.+)['’]: No such file or directory$|^(?:/\S+/)?(?:ba|da)?sh: (?:line )?\d+: ([^\s:]+): No such file or directory$",
        ),
        make_program: pattern(
            r"^make(?:\[\d+\])?: (?:exec: )?([^\s:]+): (?:No such file or directory|not found)$",
        ),
        foreign: pattern(r"([^\s:]+): (?:cannot execute(?: binary file)?: )?(?:Exec format error)"),
        flag: pattern(
            r"(?:unrecognized command[- ]line option|unknown argument:?|unrecognized argument in option|unsupported option|unsupported argument '[^']*' to option) ['‘]?([^'’;]+)",
        ),
        library: pattern(
            r"error while loading shared libraries: ([^:]+):|version `([^']+)' not found|please install (lib[\w.+-]+)|cannot load plugin (\S+?):?(?:\s|$)",
        ),
        refused: pattern(
            r"^(?:\S+:\d+: )?\*\*\* (.*[Cc]ompiler.*?)\.?(?:  Stop\.)?$|error: (?:#error )?(Sorry, your (?:version of )?(?:\w+ )?(?:compiler|GCC).*)$",
        ),
        header: pattern(r": fatal error: (\S+\.h): No such file or directory$"),
        sanitizer: pattern(r"unrecognized argument to ['‘](-f\S+?=)['’] option: ['‘]([^'’]+)['’]"),
        not_executable: pattern(r"(?:^|: )(?:exec: )?([^\s:]*/[^\s:]+): Permission denied$"),
        // Progress output of make and kbuild, and commands echoed by shells.
        noise: pattern(
            r"^\s*$|^make(?:\[\d+\])?: (?:Entering|Leaving) directory|^make(?:\[\d+\])?: \*\*\* (?:\[.*\] Error \d+|Waiting for unfinished jobs)|^\s{2}[A-Z][A-Z0-9_]{1,12}\s+(?:\[M\]\s+)?\S+$|^\++ |^[-=~*#^\s|]+$",
        ),
        not_found_status: pattern(r"^make(?:\[\d+\])?: \*\*\* \[.*\] Error 12[67]$"),
    }
});
