//! The table as a page of documentation.

use std::fmt::Write as _;

use super::Code;

/// The whole text of `docs/errors.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# Error codes\n\n\
         Generated from `crates/contract/src/errors/code.rs`; do not edit.\n\n\
         Codes are stable. The exit status is that of a program that ends because of the error: 1 failure, 2 wrong \
         usage or invalid file, 3 this machine can't run it.\n\n\
         | Code | HTTP | Exit | What it means | What to do |\n\
         |---|---|---|---|---|\n",
    );
    for code in Code::ALL {
        // writing to a String cannot fail
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            code.as_str(),
            code.http_status(),
            code.exit_code(),
            code.explanation(),
            code.remedy()
        );
    }
    text
}
