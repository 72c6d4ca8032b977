"""What the teacher reads before the student's response: one file for each kind of privileged text.

    Answered -> text -> the teacher's prompt, as token ids

The student never reads any of it, and the response keeps its token ids: only the teacher's prompt changes.
"""
