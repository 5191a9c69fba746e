//! The figures as text: one idea per line, with a verdict.

use super::document::Document;
use crate::cli::printer;
use crate::evaluate::Report;
use crate::evaluate::identity::Ranks;
use crate::evaluate::report::JudgeReport;
use crate::evaluate::verdict::Finding;

/// How many phrases are listed.
const TAKEN_FOR: usize = 6;

/// What a reader must know before believing the figures.
pub(super) fn warnings(report: &Report) -> Vec<String> {
    let mut all = Vec::new();
    if report.heard_judges().all(|judge| judge.guided_the_training) {
        all.push(
            "every judge guided the training and flatters it; a CLIP that did not is the better one: `--clip`"
                .to_owned(),
        );
    }
    if report.samples < 64 {
        all.push(format!("{} samples are few: the figures are rough", report.samples));
    }
    let judged = report.judges.iter().filter_map(|judge| Some((judge, judge.frechet.as_ref()?)));
    for (judge, frechet) in judged.filter(|(_, frechet)| frechet.too_few) {
        all.push(format!(
            "{} generated and {} reference images are few for the {} features of `{}`: its Fréchet distances are too \
             large, and compare only with those of as many images",
            frechet.images, frechet.references, frechet.features, judge.name
        ));
    }
    all
}

/// Everything, for people.
pub(super) fn table(document: &Document<'_>) -> String {
    let report = document.report;
    let judges: Vec<String> = report.judges.iter().map(|j| about_judge(j, report)).collect();
    let head = format!(
        "{} -> {}   {}, {} pairs, truncation {}, seed {}\njudges: {}",
        report.source,
        report.target,
        document.run.display(),
        report.samples,
        document.truncation,
        document.seed,
        judges.join(", ")
    );
    let mut rows = vec![["FIGURE", "VALUE", "VERDICT", "MEANING"].map(str::to_owned).to_vec()];
    let mut figure = |key: &str, name: &str, value: String, meaning: &str| {
        let verdict = document.findings.iter().find(|f| f.figure == key);
        let verdict = verdict.map_or("", |f| f.verdict.word());
        rows.push(vec![name.into(), value, verdict.into(), meaning.into()]);
    };
    let direction = &report.directional;
    figure(
        "directional",
        "directional similarity",
        format!("{:.3} ± {:.3}", direction.spread.mean, direction.spread.std),
        "1: edits go exactly the way of the phrases, 0: across",
    );
    let tenths = format!("{:.3} to {:.3}", direction.spread.p10, direction.spread.p90);
    figure("", "  eight of ten", tenths, "");
    let mean = format!("{:.3}", direction.of_the_mean_edit);
    figure("", "  of the mean edit", mean, "what all samples have in common");
    let length = direction.edit_length.map_or("unknown".into(), |l| format!("{l:.2} x"));
    figure(
        "",
        "  length of the edits",
        length,
        "from a source image to its partner, in distances of two source images",
    );
    each_judge(report, &mut figure, |j| format!("{:.3}", j.directional.spread.mean));

    let (now, before) = (&report.zero_shot, &report.zero_shot_before);
    let others = report.phrases.len();
    let target = format!("nearest of {others} phrases is {}", report.synonyms.phrases.join(" or "));
    let rate = format!("{} (before {})", percent(now.target_rate), percent(before.target_rate));
    figure("target_rate", "target rate", rate, &target);
    each_judge(report, &mut figure, |j| percent(j.zero_shot.target_rate));
    let rate = format!("{} (before {})", percent(now.leak_rate), percent(before.leak_rate));
    let leak = format!("still nearer to {} than to {}", report.source, report.target);
    figure("leak_rate", "leak rate", rate, &leak);

    let identity = &report.identity;
    let ranks = |r: &Ranks| format!("{} first, {:.2}", percent(r.top1), r.reciprocal);
    let among = format!(
        "share whose own source is found first among {}, mean 1/rank; guessing: {}",
        identity.among,
        ranks(&identity.guessing)
    );
    figure("identity", "identity", ranks(&identity.combined), &among);
    figure("", "  by edges", ranks(&identity.edges), "");
    figure("", "  by light and dark", ranks(&identity.low_frequencies), "");
    figure("", "  by maps inside CLIP", ranks(&identity.clip_maps), "");
    let edges = format!("{:.2}", identity.edge_correlation);
    figure("", "  correlation of edges", edges, "1: the same edges, whatever their strength");

    let diversity = &report.diversity;
    let times = |ratio: Option<f64>| ratio.map_or("unknown".into(), |r| format!("{r:.2} x"));
    figure(
        "diversity",
        "diversity",
        times(diversity.clip_ratio),
        "mean distance of two images, adapted / source, as CLIP sees it",
    );
    figure("", "  in pixels", times(diversity.pixels.ratio), "");
    let same = diversity.clip_nearly_same.max(diversity.pixels.nearly_same);
    figure("", "  nearly the same", percent(same), "of all pairs of adapted images");
    let detail = &report.high_frequency;
    let value = format!("{:.2} x", detail.median);
    figure("high_frequency", "high frequency", value, "finest detail, adapted / source: speckle");

    if let Some(ratio) = report.frechet_ratio() {
        let meaning = "distance to the reference images, adapted / source: below 1 is nearer";
        figure("frechet", "Fréchet distance", format!("{ratio:.2} x"), meaning);
        for judge in &report.judges {
            let Some(f) = &judge.frechet else { continue };
            let value = format!("{:.4} (before {:.4})", f.adapted, f.source);
            let meaning = format!("{} generated, {} reference images", f.images, f.references);
            figure("", &format!("  {}", judge.name), value, &meaning);
        }
    }
    let remarks: Vec<String> =
        document.findings.iter().filter(|f| !f.remark.is_empty()).map(remark).collect();
    let taken = taken_for(report);
    [head, printer::table(&rows), taken, remarks.join("\n")]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// A line per judge, when there are several.
fn each_judge(
    report: &Report,
    figure: &mut impl FnMut(&str, &str, String, &str),
    value: impl Fn(&JudgeReport) -> String,
) {
    for judge in report.judges.iter().filter(|_| report.judges.len() > 1) {
        figure("", &format!("  {}", judge.name), value(judge), "");
    }
}

fn about_judge(judge: &JudgeReport, report: &Report) -> String {
    let note = match (judge.guided_the_training, report.heard.contains(&judge.name)) {
        (true, true) => "guided the training, flatters",
        (true, false) => "guided the training, listed only",
        (false, _) => "held out",
    };
    format!("{} ({note})", judge.name)
}

/// The phrases that the images are nearest to.
fn taken_for(report: &Report) -> String {
    let shown: Vec<String> = report
        .zero_shot
        .taken_for
        .iter()
        .take(TAKEN_FOR)
        .map(|chosen| format!("{} {}", chosen.phrase, percent(chosen.share)))
        .collect();
    let rest = if report.zero_shot.taken_for.len() > TAKEN_FOR { ", …" } else { "" };
    format!("taken for: {}{rest}", shown.join(", "))
}

fn remark(finding: &Finding) -> String {
    let name = finding.figure.replace('_', " ");
    format!("{}: {name}: {}", finding.verdict.word(), finding.remark)
}

/// A row of a Markdown table: target, directional similarity, target rate, leak rate, identity, diversity, high
/// frequency, seconds.
pub(super) fn markdown(document: &Document<'_>) -> String {
    let report = document.report;
    let mark = |key: &str| {
        let verdict = document.findings.iter().find(|f| f.figure == key).map(|f| f.verdict.word());
        verdict.filter(|word| *word != "ok").map_or(String::new(), |word| format!(" {word}"))
    };
    let ratio = |r: Option<f64>| r.map_or("–".into(), |r| format!("{r:.2}"));
    let spread = report.directional.spread;
    let cells = [
        report.target.replace('|', "/"),
        format!("{:.2} ± {:.2}{}", spread.mean, spread.std, mark("directional")),
        format!("{}{}", percent(report.zero_shot.target_rate), mark("target_rate")),
        format!("{}{}", percent(report.zero_shot.leak_rate), mark("leak_rate")),
        format!("{}{}", percent(report.identity.combined.top1), mark("identity")),
        format!("{}{}", ratio(report.diversity.clip_ratio), mark("diversity")),
        format!("{:.2}{}", report.high_frequency.median, mark("high_frequency")),
        document.training_seconds.map_or("–".into(), |s| format!("{s:.0}")),
    ];
    format!("| {} |", cells.join(" | "))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}
