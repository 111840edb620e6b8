"""What consumers of the model auto have learned of tasks, for those that come after them."""

from collections.abc import Mapping

from heori_common.protocol.commands.builder import Builders, Command, text

LESSONS_TTL_S = 30 * 24 * 3600


class LearningCommands(Builders):
    """Lessons, as whoever has written them packs them."""

    def lessons(self, service: str) -> Command[dict[str, bytes]]:
        """What is known, by task."""

        def parse(reply: dict[bytes, bytes]) -> dict[str, bytes]:
            return {text(task): lesson for task, lesson in reply.items()}

        return Command(("HGETALL", self.keys.lessons(service)), parse)

    def keep_lessons(self, service: str, lessons: Mapping[str, bytes]) -> Command[int]:
        """Write some, of which there must be one; all live for another while."""
        words = [word for pair in lessons.items() for word in pair]
        key = self.keys.lessons(service)
        return self._call("keep_lessons", [key], int, words=words, ttl_s=LESSONS_TTL_S)
