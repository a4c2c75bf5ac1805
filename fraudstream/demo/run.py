"""One run from the training to the count."""

import time
from contextlib import closing
from pathlib import Path

from rich.console import Console

from fraudstream.demo.cluster import Cluster
from fraudstream.demo.monitor import baseline_before, watched
from fraudstream.demo.serve import last_words, worker
from fraudstream.demo.stream import ANSWER_SECONDS, HeldOut, Reader, held_out, sending, watch
from fraudstream.demo.tally import Summary, Tally, summarise
from fraudstream.demo.view import step, watching
from models.train import TrainingSettings, train_to
from producer import sample_path
from producer.publish import Pace, Publisher
from schemas.dataset import read_dataset
from schemas.errors import FraudstreamError


def run(console: Console, cluster: Cluster, rate: float, scratch: Path, *, drifts: bool) -> Summary:
    """Train, serve, send at ``rate`` a second, count, and look for drift, which there is if it ``drifts``.

    ``scratch`` is a directory for the model and the log.
    """
    dataset, settings, model = read_dataset(sample_path()), TrainingSettings(), scratch / "model"
    rows = held_out(dataset, settings.shares, drifts=drifts)
    with step(console, f"Training on the first {rows.first:,} of {len(dataset.frame):,} real card transactions"):
        usual = baseline_before(rows, train_to(model, dataset, settings), dataset)
    with closing(Reader(cluster)) as reader:
        reader.get_ready()
        tally = _send_and_watch(console, cluster, rows, rate, reader, model, scratch)
        # Only now, with the worker gone, can nothing come that would be doubled.
        reader.read_to_end(tally)
    return summarise(tally, cluster.delivery.value, watched(cluster, usual))


def _send_and_watch(
    console: Console, cluster: Cluster, rows: HeldOut, rate: float, reader: Reader, model: Path, scratch: Path
) -> Tally:
    starting = step(console, f"Starting a worker that delivers {cluster.delivery.value.replace('_', ' ')}")
    # Before the worker: an idempotent producer takes half a second to get its id, and would be late from the start.
    publisher = Publisher(cluster.connection.properties, cluster.topics.transactions)
    publisher.get_ready(ANSWER_SECONDS)
    with worker(cluster, model, scratch, starting) as server:
        console.print(f"Sending the {rows.count:,} that came later, {rate:,.0f} a second\n", highlight=False)
        pace = Pace(time.time(), rate)
        tally = Tally(rows.truth(pace))
        with watching(console, tally) as show, sending(publisher, rows, pace) as check_sender:

            def check() -> None:
                check_sender()
                if not server.running:
                    raise FraudstreamError(f"the worker ended: {last_words(server)}")

            watch(reader, tally, rows.count / rate, show, check)
    return tally
