//! `resprout completions`: scripts that the shells accept.

mod support;

use std::process::Command;

use support::resprout_reading;

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

/// Promise: there is a script for each shell, and it knows commands and options.
#[test]
fn each_shell_has_a_script() {
    for shell in SHELLS {
        let ran = resprout_reading(b"", ["completions", shell]);
        assert_eq!(ran.code, 0, "{shell}: {}", ran.err);
        for word in ["inspect", "verify", "frames", "recovery", "primary-key"] {
            assert!(ran.out.contains(word), "{word} is not in the script for {shell}");
        }
    }
    let ran = resprout_reading(b"", ["completions", "cmd"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("bash") && ran.out.is_empty(), "{}", ran.err);
}

/// Promise: in bash, `resprout ins` becomes `inspect`, and options of a command are offered.
#[test]
fn bash_completes_with_the_script() {
    let script = resprout_reading(b"", ["completions", "bash"]).out;
    let complete = |words: &str, at: u32| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={at}; \
             cur=${{COMP_WORDS[$COMP_CWORD]}}; prev=${{COMP_WORDS[$COMP_CWORD-1]}}; \
             _resprout resprout \"$cur\" \"$prev\"; echo \"${{COMPREPLY[@]}}\""
        );
        let ran = Command::new("bash").args(["--norc", "-c", &ask]).output().expect("bash runs");
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    };
    assert_eq!(complete("resprout ins", 1), "inspect");
    assert_eq!(complete("resprout inspect wal --fra", 3), "--frames");
}
