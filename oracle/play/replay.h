/* SPDX-License-Identifier: MIT */
/* replay.h - the starts and ends of the kernel's log, made again by hand. */
#ifndef ORACLE_REPLAY_H
#define ORACLE_REPLAY_H

#include <hmmu/mmu_notifier.h>

/* Reads what @log has of @script. 0 or -errno. */
long replay_load(const char *log, const char *script);
/* Those of operation @nr, on @mm; nothing without a load. */
void replay_changes(struct mm_struct *mm, unsigned int nr);

#endif /* ORACLE_REPLAY_H */
