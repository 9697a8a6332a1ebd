"""`make demo`: Airflow backs up a database of its own and proves the backup by restoring it. `--help` says the rest."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from rich.console import Console

from scripts.demo import database, installation, report
from scripts.demo.errors import DemoFailed
from scripts.demo.installation import HOME, ROOT, USER
from scripts.demo.rest import AirflowApi
from scripts.demo.services import FOR_A_RUN, Services, is_migrated, migrate, tail, wait_until
from scripts.demo.view import RunView, TaskLine

DAG_ID = "backup_daily"
START_SECONDS = 180.0
RUN_SECONDS = 600.0
POLL_SECONDS = 0.7
FAILED_STATES = {"failed", "upstream_failed"}


def main() -> int:
    options = _options()
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    if options.stop:
        return _stop(console)
    try:
        with _only_one():
            return Demo(console, once=options.once).run()
    except DemoFailed as failure:
        console.print(f"[red]{failure}[/]", soft_wrap=True)
        if failure.details:
            console.print(failure.details, style="dim", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted.")
        return 130


class Demo:
    def __init__(self, console: Console, *, once: bool) -> None:
        self._console = console
        self._once = once
        self._began = time.monotonic()

    def run(self) -> int:
        """The exit status: 0 when the run ended well and its backup is there.

        Services that this command has started are stopped again when it cannot follow the run to its end.
        """
        self._make_database()
        services, reused = self._services()
        keep_running = False
        try:
            api = self._connect(services)
            succeeded = self._follow(api, services)
            keep_running = not self._once
        except BaseException:
            # One that ran before goes on running, unless it is broken.
            keep_running = reused and not self._once and services.running()
            raise
        finally:
            if not keep_running:
                services.stop()
                self._say("Airflow is stopped")
        if keep_running:
            if not reused:
                services.start("triggerer", once=False)
            self._say_where(services)
        return 0 if succeeded else 1

    def _make_database(self) -> None:
        if database.DATABASE.is_file():
            return
        rows = database.create()
        self._say(f"Wrote {database.DATABASE.relative_to(ROOT)}: a car marketplace, {rows:,} rows")

    def _services(self) -> tuple[Services, bool]:
        """Those that run already, or new ones."""
        known = Services.known()
        if known is not None and known.running():
            self._say(f"Airflow runs already at {known.address.url}")
            return known, True
        if known is not None:
            known.stop()
        address = installation.free_address()
        installation.write_configuration(address)
        installation.password()
        if not is_migrated():
            self._say("Making Airflow's own database (SQLite)")
            migrate()
        self._say(f"Starting Airflow at {address.url}")
        services = Services.new(address)
        try:
            for name in FOR_A_RUN:
                services.start(name, once=self._once)
        except BaseException:
            services.stop()
            raise
        return services, False

    def _connect(self, services: Services) -> AirflowApi:
        api = AirflowApi(services.address, installation.password())

        def answers() -> bool:
            services.check()
            return bool(api.health())

        def works() -> bool:
            services.check()
            health = api.health()
            return all(health.get(name) == "healthy" for name in ("metadatabase", "scheduler", "dag_processor"))

        wait_until(answers, START_SECONDS, "Airflow's API server did not answer", ["api-server"])
        api.log_in()
        self._create_connections_and_pools(api)
        wait_until(works, START_SECONDS, "Airflow's scheduler and DAG processor did not get ready", FOR_A_RUN[1:])
        wait_until(lambda: api.dag_is_known(DAG_ID), START_SECONDS, f"Airflow did not find {DAG_ID}", FOR_A_RUN[2:])
        return api

    def _create_connections_and_pools(self, api: AirflowApi) -> None:
        settings = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())["airflow"]
        for connection in settings["connections"]:
            body = {
                "connection_id": connection["conn_id"],
                "conn_type": connection["conn_type"],
                "host": str(ROOT / connection["conn_host"]),
            }
            api.create("connections", connection["conn_id"], body)
        for pool in settings["pools"]:
            body = {
                "name": pool["pool_name"],
                "slots": pool["pool_slot"],
                "description": pool["pool_description"],
                "include_deferred": False,
            }
            api.create("pools", pool["pool_name"], body)

    def _follow(self, api: AirflowApi, services: Services) -> bool:
        """Trigger the run, show it, print what it left. Whether it ended well."""
        api.unpause(DAG_ID)
        run_id = api.trigger(DAG_ID)
        self._say(f"Run of {DAG_ID}: {run_id}")
        deadline = time.monotonic() + RUN_SECONDS
        with RunView(self._console) as view:
            while True:
                services.check()
                state = api.run_state(DAG_ID, run_id)
                tasks = api.tasks(DAG_ID, run_id)
                view.show(TaskLine.of(task, api.progress(task) if task["state"] == "running" else {}) for task in tasks)
                if state in {"success", "failed"}:
                    break
                if time.monotonic() > deadline:
                    raise DemoFailed(f"The run has not ended within {RUN_SECONDS:.0f} seconds.", tail("scheduler"))
                time.sleep(POLL_SECONDS)
        for task in tasks:
            if task["state"] == "failed":
                which = TaskLine.of(task, {})
                self._console.print(f"\n[red]{' '.join(filter(None, which.key))} failed[/]; the end of its log:")
                self._console.print(api.log_tail(task), style="dim", markup=False, soft_wrap=True)
        return self._report(run_id, state)

    def _report(self, run_id: str, state: str) -> bool:
        backups = report.backups_of_run(run_id)
        took = f"{time.monotonic() - self._began:.0f} s after the start"
        colour = "green" if state == "success" else "red"
        self._console.print(f"\n[bold {colour}]The run ended: {state}[/], {took}.")
        for manifest, proofs in backups:
            report.print_backup(self._console, manifest, proofs)
        if not backups:
            self._console.print("[red]It left no backup.[/]")
        return state == "success" and bool(backups)

    def _say_where(self, services: Services) -> None:
        self._console.print(f"  [dim]Airflow [/] {services.address.url} (until `make stop`)")
        self._console.print(f"  [dim]Login   [/] {USER}, password {installation.password()}")
        self._console.print("  [dim]Terminal[/] AIRFLOW_HOME=$PWD/.airflow .venv/bin/db-backup list")

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/]  {text}", soft_wrap=True)


def _stop(console: Console) -> int:
    services = Services.known()
    stopped = services.stop() if services else 0
    console.print("Airflow is stopped." if stopped else "Nothing is running.")
    return 0


@contextmanager
def _only_one() -> Iterator[None]:
    """:raises DemoFailed: another `make demo` of this project is at work."""
    HOME.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(HOME / "demo.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise DemoFailed("Another `make demo` of this project is at work; wait for it, or end it.") from error
    finally:
        os.close(handle)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop Airflow when the run has ended")
    parser.add_argument("--stop", action="store_true", help="stop the Airflow that an earlier start has left running")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
