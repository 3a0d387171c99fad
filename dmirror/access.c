// SPDX-License-Identifier: MIT
/*
 * access.c - the device reads and writes memory through its page table, and faults what is
 * missing there.
 *
 * Before each use of entries the window is asked whether they are good, and at completion
 * once more (mmu_notifier.h, G1); what was copied in between is copied again.
 */
#include <errno.h>
#include <string.h>

#include "dmirror.h"

/* What one ioctl copies; @buffer is ours. */
struct transfer {
	struct dmirror *dm;
	struct mir_window *window;
	unsigned long at; /* so far */
	unsigned long end;
	char *buffer; /* of at */
	bool write;
};

static void advance(struct transfer *t, unsigned long bytes)
{
	t->at += bytes;
	t->buffer += bytes;
}

/* On the device: its own memory. device.lock */
static void copy_device(struct transfer *t, uint64_t entry)
{
	if (t->write)
		memcpy(mir_entry_at(entry), t->buffer, MIR_PAGE);
	else
		memcpy(t->buffer, mir_entry_at(entry), MIR_PAGE);
}

/* Ordinary memory, by the kernel: whoever changes it by a raw system call may take it away
 * meanwhile. device.access */
static int copy_home(struct transfer *t, unsigned long bytes)
{
	if (t->write)
		return mir_to_user(t->at, t->buffer, bytes);
	return mir_from_user(t->buffer, t->at, bytes);
}

static bool usable(const struct transfer *t, uint64_t entry)
{
	return entry & (t->write ? ENTRY_WRITE : ENTRY_VALID);
}

/* The run of ordinary entries from @at on; pages on the device before it are copied. */
static unsigned long next_run(struct transfer *t)
{
	const struct mir_table *table = &t->dm->table;
	unsigned long end;
	uint64_t entry;

	mir_lock(t->dm->device);
	while (t->at < t->end) {
		entry = mir_table_get(table, t->at);
		if (!usable(t, entry) || !(entry & ENTRY_DEVICE))
			break;
		copy_device(t, entry);
		advance(t, MIR_PAGE);
	}
	for (end = t->at; end < t->end; end += MIR_PAGE) {
		entry = mir_table_get(table, end);
		if (!usable(t, entry) || (entry & ENTRY_DEVICE))
			break;
	}
	mir_unlock(t->dm->device);
	return end - t->at;
}

/* With device.access: until an entry is missing. */
static void copy_present(struct transfer *t)
{
	unsigned long bytes;

	while (t->at < t->end && (bytes = next_run(t)) != 0) {
		if (!copy_home(t, bytes)) {
			advance(t, bytes);
			continue;
		}
		/* It has gone: asked for anew. */
		mir_lock(t->dm->device);
		mir_table_drop(&t->dm->table, t->at, t->at + bytes, ENTRY_DEVICE);
		mir_unlock(t->dm->device);
	}
}

/* True: everything copied was good; @t has moved. */
static bool copy_checked(struct transfer *t)
{
	struct mir_device *device = t->dm->device;
	struct mir_window *w = t->window;
	struct transfer start = *t;
	bool good;

	mir_lock_access(device);
	good = w->begun && hmmu_access_ok(&w->sub, w->seq);
	if (good) {
		copy_present(t);
		good = hmmu_access_ok(&w->sub, w->seq);
	}
	mir_unlock_access(device);
	if (!good)
		*t = start;
	return good;
}

static int fault(struct transfer *t)
{
	struct mir_follow follow = {
		.window = t->window,
		.request = HMM_PFN_REQ_FAULT | (t->write ? HMM_PFN_REQ_WRITE : 0),
	};
	int ret = mir_table_reserve(&t->dm->table, t->at, t->end);

	for (unsigned long at = t->at, next; !ret && at < t->end; at = next) {
		next = mir_chunk_end(at, t->end);
		ret = mir_follow(&follow, at, next);
	}
	return ret;
}

static int transfer(struct transfer *t, struct hmm_dmirror_cmd *cmd)
{
	struct timespec deadline = mir_deadline();
	unsigned long before = t->at;
	int ret = 0;

	while (!ret && t->at < t->end) {
		if (!copy_checked(t)) {
			ret = mir_window_refresh(t->window, &deadline);
		} else if (t->at < t->end) {
			ret = fault(t);
			cmd->faults += !ret;
		}
		if (t->at != before) {
			before = t->at;
			deadline = mir_deadline();
		} else if (!ret && mir_expired(&deadline)) {
			ret = -EBUSY;
		}
	}
	cmd->cpages = cmd->npages - (t->end - t->at) / MIR_PAGE;
	return ret;
}

static int transfer_by(struct dmirror *dm, struct hmm_dmirror_cmd *cmd, void *buffer,
		       bool write)
{
	struct transfer t = {
		.dm = dm,
		.at = cmd->addr,
		.end = mir_end(cmd),
		.buffer = buffer,
		.write = write,
	};
	int ret;

	if (t.end > MIR_TOP)
		return -EFAULT;
	ret = mir_window_get(dm, t.at, t.end, &t.window);
	if (ret)
		return ret;
	ret = transfer(&t, cmd);
	mir_window_put(t.window);
	return ret;
}

int mir_read(struct dmirror *dm, struct hmm_dmirror_cmd *cmd)
{
	size_t bytes = cmd->npages * MIR_PAGE;
	void *buffer = mir_map(bytes);
	int ret;

	if (!buffer)
		return -ENOMEM;
	ret = transfer_by(dm, cmd, buffer, false);
	if (!ret)
		ret = mir_to_user(cmd->ptr, buffer, bytes);
	mir_unmap(buffer, bytes);
	return ret;
}

int mir_write(struct dmirror *dm, struct hmm_dmirror_cmd *cmd)
{
	size_t bytes = cmd->npages * MIR_PAGE;
	void *buffer = mir_map(bytes);
	int ret;

	if (!buffer)
		return -ENOMEM;
	ret = mir_from_user(buffer, cmd->ptr, bytes);
	if (!ret)
		ret = transfer_by(dm, cmd, buffer, true);
	mir_unmap(buffer, bytes);
	return ret;
}

int mir_collect(struct mir_follow *follow, unsigned long start, unsigned long end, char *buffer)
{
	struct mir_window *w = follow->window;
	struct timespec deadline = mir_deadline();
	struct transfer t = {
		.dm = w->dm, .window = w, .at = start, .end = end, .buffer = buffer};

	do {
		uint64_t drops = __atomic_load_n(&w->drops, __ATOMIC_SEQ_CST);
		int ret = mir_follow(follow, start, end);

		if (ret)
			return ret;
		if (!copy_checked(&t))
			continue;
		if (t.at == end)
			return 0;
		/* Seen, and not for the device; rather than dropped since. */
		if (__atomic_load_n(&w->drops, __ATOMIC_SEQ_CST) == drops)
			return -ENOENT;
	} while (!mir_expired(&deadline));
	return -EBUSY;
}
