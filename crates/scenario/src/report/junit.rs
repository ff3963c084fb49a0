//! `junit.xml`, for continuous integration.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::engine::{Failure, ScenarioResult, Summary, Verdict};

pub(super) fn render(summary: &Summary) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new(format!("mountlab.{}", summary.backend));
    suite.set_time(summary.elapsed);
    suite.add_property(("seed", summary.seed.to_string().as_str()));
    suite.add_test_cases(summary.scenarios.iter().map(case));
    let mut report = Report::new("mountlab");
    report.set_time(summary.elapsed);
    report.add_test_suite(suite);
    report.to_string()
}

fn case(result: &ScenarioResult) -> TestCase {
    let status = match &result.verdict {
        Verdict::Held => TestCaseStatus::success(),
        Verdict::Skipped { reason } => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.clone());
            status
        }
        Verdict::Failed => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            if let Some(first) = result.failures.first() {
                status.set_message(format!("{}: {}", first.part, first.message));
            }
            let text: Vec<String> = result.failures.iter().map(Failure::render).collect();
            status.set_description(text.join("\n"));
            status
        }
        Verdict::Stopped => error("the run was stopped before this scenario's end"),
        Verdict::Machine { reason } => error(reason),
    };
    let mut case = TestCase::new(result.name.clone(), status);
    case.set_classname(result.file.display().to_string());
    case.set_time(result.elapsed);
    if !result.covers.is_empty() {
        case.add_property(("covers", result.covers.join(" ").as_str()));
    }
    case
}

fn error(message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(message.to_owned());
    status
}
