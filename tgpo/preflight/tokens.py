"""Tokenizer checks: student and teacher must give each id the same meaning and end responses with the same token."""

from __future__ import annotations

import json
from itertools import zip_longest

from tgpo.errors import RequestError, did_you_mean, first_line
from tgpo.preflight.look import Inspection, Note, Role, id_strings

PROBE = "What is 2+3?"
MOST_SHOWN = 4  # tokens that a message lists


def check_student_tokenizer(look: Inspection) -> str:
    student = look.options.student
    try:
        tokenizer = look.tokenizer
    except RequestError:
        raise
    except Exception as error:  # transformers and tokenizers raise many kinds
        raise RequestError(f"student.path={student.path}: its tokenizer does not load ({first_line(error)})") from error
    strings, where = look.strings, f"student.path={student.path}: its tokenizer"
    if len(strings) != len(tokenizer):
        raise RequestError(f"{where} has {len(tokenizer)} tokens and ids up to {len(strings) - 1}: some have none")
    if tokenizer.eos_token_id is None:
        raise RequestError(f"{where} needs an EOS token, which ends a response; set eos_token in tokenizer_config.json")
    if tokenizer.chat_template is None:
        raise RequestError(
            f"{where} needs a chat template; give one: student.chat_template=chatml, qwen-math, or a Jinja file"
        )
    for token in student.end_tokens:
        if token not in tokenizer.get_vocab():
            near = did_you_mean(token, tokenizer.all_special_tokens)
            raise RequestError(f"student.end_tokens: '{token}' is no token of {student.path}{near}")
    special = {name: getattr(tokenizer, f"{name}_token_id") for name in ("eos", "pad", "bos")}
    listed = ", ".join(f"{name} {index} {strings[index]!r}" for name, index in special.items() if index is not None)
    return f"{len(tokenizer):,} tokens; {listed}"


def check_template(look: Inspection) -> str:
    """Checks that the student's chat template renders, and that the rendered prompt contains the problem."""
    student, tokenizer = look.options.student, look.tokenizer
    named = "its own" if student.chat_template is None else student.chat_template
    turn = [{"role": "user", "content": PROBE}]
    try:
        prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    except Exception as error:  # jinja2's own errors, or any that the template raises
        raise RequestError(f"the student's chat template ({named}) does not render: {first_line(error)}") from error
    if PROBE not in prompt:
        raise RequestError(f"the student's chat template ({named}) leaves the problem out of the prompt")
    return f"{named}: {prompt!r}"


def check_tokenizers(look: Inspection, role: Role) -> str | None:
    """Checks that student and teacher map each id to the same string."""
    teacher = look.teachers[role].options
    if teacher.local_path is None:
        return None
    try:
        teacher_strings = id_strings(look.tokenizer_of(role))
    except Exception as error:  # transformers and tokenizers raise many kinds
        raise RequestError(f"{role}.path={teacher.path}: its tokenizer does not load ({first_line(error)})") from error
    student_strings, names = look.strings, (look.options.student.path, teacher.path)
    extra = teacher_strings[len(student_strings) :]
    for index, (student_token, teacher_token) in enumerate(
        zip_longest(student_strings, teacher_strings[: len(student_strings)])
    ):
        if student_token != teacher_token:
            raise RequestError(
                f"student and teacher have different tokenizers: id {index} is {student_token!r} for {names[0]} and "
                f"{teacher_token!r} for {names[1]}; choose a teacher of the student's family"
            )
    if not extra:
        return f"the same {len(student_strings):,} tokens"
    examples = ", ".join(repr(token) for token in extra[:MOST_SHOWN]) + (" ..." if len(extra) > MOST_SHOWN else "")
    if teacher.extra_tokens == "refuse":
        raise RequestError(
            f"student and teacher have different tokenizers: {names[1]} has {len(extra)} more than {names[0]}, from id "
            f"{len(student_strings)} on ({examples}); leave them out of its softmax with {role}.extra_tokens=drop, or "
            "choose another"
        )
    return Note(
        f"the same {len(student_strings):,} tokens; the teacher's {len(extra)} others ({examples}) are dropped: the "
        "probability they had is spread over the shared ones"
    )


def check_ends(look: Inspection) -> str:
    """Checks that each teacher's EOS token also ends the student's responses."""
    ends, tokenizer = student_ends(look), look.tokenizer
    end_tokens = " or ".join(repr(tokenizer.convert_ids_to_tokens(index)) for index in ends)
    found, other = [f"the student's responses end with {end_tokens}"], False
    for role, teacher in look.teachers.items():
        if teacher.options.local_path is None:
            continue
        whose, end = "the teacher's" if len(look.teachers) == 1 else f"those of {teacher.name}", look.tokenizer_of(role)
        if end.eos_token_id in ends:
            found.append(f"{whose} with {end.eos_token!r}")
        elif teacher.options.other_eos == "ignore":
            found.append(f"{whose} with {end.eos_token!r}, which is a token like any other here")
            other = True
        else:
            raise RequestError(
                f"student and teacher end a response differently: {end_tokens} and {end.eos_token!r}; the teacher "
                f"would push the student never to stop. Let it end too: student.end_tokens=['{end.eos_token}'], or "
                f"{role}.other_eos=ignore"
            )
    return Note("; ".join(found)) if other else "; ".join(found)


def student_ends(look: Inspection) -> list[int]:
    """Returns the ids that end the student's responses, as `tgpo.models.loading.eos_ids` does, without the model."""
    path, tokenizer = look.folders["student"] / "generation_config.json", look.tokenizer
    eos_token_id = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
    configured = eos_token_id if isinstance(eos_token_id, list) else [eos_token_id]
    extra = [tokenizer.get_vocab()[token] for token in look.options.student.end_tokens]
    return sorted({tokenizer.eos_token_id, *extra, *(index for index in configured if index is not None)})
