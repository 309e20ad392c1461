"""Section on learned kernels, attention and effective receptive fields of the replicates of a round."""

from lkca_search.analysis.kernels.kernel_analysis import analyze_kernels
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.reporting.kernels.figures import kernel_figures
from lkca_search.reporting.kernels.sentences import kernel_sentences, missing_sentences
from lkca_search.reporting.kernels.tables import kernel_tables
from lkca_search.reporting.values.report import Section

_MEANING = (
    "Kernels of LKCA and attention are read in one way: as the weight that a token gives to a token at a displacement. "
    "LKCA's kernel is this weight in the attention form of the operator; attention depends on the image, and its mean "
    "over test images and queries is taken. Energy is the squared weight for both. If the values of tokens are "
    "uncorrelated and have one variance, it is each token's share of the variance of the output. A mean hides "
    "attention to places that depend on the image. Receptive fields contain all layers, with their MLPs and shortcuts. "
    "The numbers describe trained models. They do not show that a smaller kernel would be as accurate."
)


def kernel_section(results: SearchResults, scores: RoundScores) -> Section:
    """Return the section; without any inspection it has the reason alone."""
    analysis = analyze_kernels(results, scores)
    name, title = "kernels", "Learned kernels, attention and receptive fields"
    if not analysis.cells:
        return Section(name=name, title=title, paragraphs=tuple(missing_sentences(analysis, results.name)))
    return Section(
        name=name,
        title=title,
        summary=tuple(kernel_sentences(analysis)),
        paragraphs=(_MEANING, *missing_sentences(analysis, results.name)),
        figures=tuple(kernel_figures(results, analysis)),
        tables=tuple(kernel_tables(analysis)),
    )
