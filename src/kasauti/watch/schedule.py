"""`kasauti retrain` run by itself: as a line for cron, as a systemd timer, as a Kubernetes CronJob.

Walks in: a task's folder and the words of the command. Walks out: texts to be put where the system looks for them. It
installs nothing.

None of the three starts a second run beside one that is going on, and the command itself holds the task's lock.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

KINDS = ("cron", "systemd", "kubernetes")
_CRON = """# crontab -e: every Monday at 03:00; exit code 1 means that there is no new version, and why is in the log
0 3 * * 1  {command} >> {log} 2>&1
"""
_SYSTEMD = """# /etc/systemd/system/kasauti-retrain.service
[Unit]
Description=Kasauti: retrain from reviewed calls

[Service]
Type=oneshot
WorkingDirectory={folder}
ExecStart={command}
SuccessExitStatus=1
Nice=10

# /etc/systemd/system/kasauti-retrain.timer; then: systemctl enable --now kasauti-retrain.timer
[Unit]
Description=Kasauti: retrain from reviewed calls, every Monday

[Timer]
OnCalendar=Mon *-*-* 03:00
Persistent=true
RandomizedDelaySec=15min

[Install]
WantedBy=timers.target
"""
_KUBERNETES = """# kubectl apply -f retrain.yaml; the claim holds task.yaml, its data and .kasauti
apiVersion: batch/v1
kind: CronJob
metadata:
  name: kasauti-retrain
spec:
  schedule: "0 3 * * 1"
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  jobTemplate:
    spec:
      backoffLimit: 2
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: retrain
              image: kasauti
              command: ["/bin/sh", "-c"]
              # 1 says that there is no new version, which is no failure; a killed run goes on where it stopped
              args: [{script}]
              env:
                - {{name: KASAUTI_REGISTRY, valueFrom: {{secretKeyRef: {{name: kasauti, key: registry}}}}}}
                - {{name: KASAUTI_DATABASE_URL, valueFrom: {{secretKeyRef: {{name: kasauti, key: database-url}}}}}}
              volumeMounts:
                - {{name: task, mountPath: /task}}
          volumes:
            - name: task
              persistentVolumeClaim: {{claimName: kasauti-task}}
"""


def schedule(kind: str, folder: str, words: Sequence[str], program: str = "kasauti") -> str:
    """The text for one of `KINDS`.

    Args:
        folder: the task's folder, absolute.
        words: options of `kasauti retrain` besides `--task`.
        program: absolute path of the `kasauti` command on this machine.
    """
    options = shlex.join(words)
    command = f"{shlex.quote(program)} retrain --task {shlex.quote(folder)} {options}".rstrip()
    if kind == "cron":
        # a percent sign ends the command in a crontab
        log = shlex.quote(f"{folder}/.kasauti/retrain.log")
        return _CRON.format(command=command.replace("%", r"\%"), log=log.replace("%", r"\%"))
    if kind == "systemd":
        return _SYSTEMD.format(folder=folder.replace("%", "%%"), command=command.replace("%", "%%"))
    import json

    script = f"kasauti retrain --task /task {options}".rstrip() + "; code=$?; [ $code -eq 1 ] && exit 0; exit $code"
    return _KUBERNETES.format(script=json.dumps(script))
