"""Tags of a finished trial's run in MLflow."""

from lkca_search.tracking.run_fields import final_tags
from tests.support.records import make_record


def test_tags_state_the_precision_and_the_compilation_that_were_used() -> None:
    record = make_record()
    assert record.facts is not None
    facts = record.facts.model_copy(update={"used_precision": "bfloat16", "compiled": True})
    tags = {tag.key: tag.value for tag in final_tags(record.model_copy(update={"facts": facts}))}
    assert (tags["used_precision"], tags["compiled"], tags["device"]) == ("bfloat16", "True", "cpu")
    old = {tag.key: tag.value for tag in final_tags(record)}  # records of earlier versions do not state them
    assert (old["used_precision"], old["compiled"]) == ("float32", "False")
