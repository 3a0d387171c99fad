// SPDX-License-Identifier: MIT
/*
 * migrate.c - pages go to the device and come home at the device's wish.
 *
 *	another thread reads			migration to the device
 *						setup: invalidate() has dropped the entries of
 *						ordinary memory, readers of it wait
 *						pages: content and all has moved
 *						finalize: a CPU may touch it again
 *						the reader's loop (follow.c)
 *	finds the entry: on the device
 *
 * Installed after finalize, as whatever is seen, rather than before it unseen: a raw
 * munmap() or mremap() may have taken the page along meanwhile. A CPU that is faster than the
 * loop has it at home; then the caller is told -ENOENT, as by Linux's device. What has been
 * dropped without need is looked for again (mir_collect()).
 *
 * What the library does not migrate and Linux does: read-only memory; and pages of a private
 * mapping of a file that the process has written, for nobody answers for their faults. The
 * device uses those where they are. All else that did not move is not there for the device,
 * which says -ENOENT.
 *
 * Home again: revoke() is not called for what the driver does itself, and invalidate() leaves
 * what is on the device alone (it cannot know which way pages go). So the entries are dropped
 * between setup, after which nobody installs, and pages.
 */
#include <errno.h>

#include "dmirror.h"

struct run {
	struct mir_follow follow;
	struct migrate_vma args;
	unsigned long src[MIR_CHUNK];
	unsigned long dst[MIR_CHUNK];
	bool selected[MIR_CHUNK]; /* by setup */
};

static void prepare(struct run *run, struct mir_device *device, unsigned long start,
		    unsigned long end, unsigned long flags)
{
	run->args = (struct migrate_vma){
		.mm = device->process->mm,
		.pagemap = device->arena,
		.src = run->src,
		.dst = run->dst,
		.start = start,
		.end = end,
		.pgmap_owner = device,
		.flags = flags,
	};
	for (unsigned long i = 0; i < MIR_CHUNK; i++)
		run->src[i] = run->dst[i] = 0;
}

/* Another migration, of the other device perhaps, has a page of it. */
static int setup(struct migrate_vma *args)
{
	struct timespec deadline = mir_deadline();
	int ret;

	do {
		ret = migrate_vma_setup(args);
	} while (ret == -EAGAIN && !mir_expired(&deadline));
	return ret == -EAGAIN ? -EBUSY : ret;
}

/* ---- to the device -------------------------------------------------------------------- */

static void choose_device_pages(struct run *run, struct mir_device *device)
{
	for (unsigned long i = 0; i < run->args.npages; i++) {
		unsigned long pfn;

		run->selected[i] = run->src[i] & MIGRATE_PFN_MIGRATE;
		if (!run->selected[i])
			continue;
		pfn = hmmu_devmem_alloc(device->arena);
		run->dst[i] = pfn ? migrate_pfn(pfn) : 0; /* full: it stays */
	}
}

static void give_back(const struct run *run, struct mir_device *device)
{
	for (unsigned long i = 0; i < run->args.npages; i++) {
		if (run->dst[i] && !(run->src[i] & MIGRATE_PFN_MIGRATE))
			hmmu_devmem_free(device->arena, migrate_pfn_to_pfn(run->dst[i]));
	}
}

static uint64_t entry(const struct mir_follow *follow, unsigned long i, unsigned long pfn,
		      uint64_t entry)
{
	const struct run *run = (const struct run *)follow;
	bool in_place =
		!run->selected[i] && !(pfn & HMM_PFN_FILE) && hmm_pfn_to_map_order(pfn) == 0;

	return pfn & HMM_PFN_DEVICE || in_place ? entry : 0;
}

static int run_to_device(struct mir_window *w, unsigned long start, unsigned long end,
			 char *buffer)
{
	struct mir_device *device = w->dm->device;
	struct run run;
	int ret;

	prepare(&run, device, start, end, MIGRATE_VMA_SELECT_SYSTEM);
	ret = setup(&run.args);
	if (ret)
		return ret;
	choose_device_pages(&run, device);
	migrate_vma_pages(&run.args);
	give_back(&run, device);
	migrate_vma_finalize(&run.args);
	run.follow = (struct mir_follow){.window = w, .entry = entry};
	return mir_collect(&run.follow, start, end, buffer);
}

/* Linux's device asks for one readable mapping. */
static int check_readable(struct dmirror *dm, unsigned long start, unsigned long end)
{
	unsigned long pfns[MIR_CHUNK];
	int ret = end > MIR_TOP || !mir_mapped(start, end) ? -EINVAL : 0;

	for (unsigned long at = start, next; !ret && at < end; at = next) {
		next = mir_chunk_end(at, end);
		ret = mir_look(dm, at, next, pfns);
		for (unsigned long i = 0; !ret && i < (next - at) / MIR_PAGE; i++)
			ret = pfns[i] & HMM_PFN_ERROR ? -EINVAL : 0;
	}
	return ret;
}

static int to_device(struct dmirror *dm, struct hmm_dmirror_cmd *cmd, char *buffer,
		     int (*run)(struct mir_window *w, unsigned long start, unsigned long end,
				char *buffer))
{
	struct mir_device *device = dm->device;
	unsigned long end = mir_end(cmd);
	struct mir_window *w;
	int ret = mir_window_get(dm, cmd->addr, end, &w);

	if (ret)
		return ret;
	pthread_mutex_lock(&device->migration);
	ret = mir_arena(device);
	for (unsigned long at = cmd->addr, next; !ret && at < end; at = next) {
		next = mir_chunk_end(at, end);
		ret = run(w, at, next, buffer + (at - cmd->addr));
		cmd->cpages += ret ? 0 : (next - at) / MIR_PAGE;
	}
	pthread_mutex_unlock(&device->migration);
	mir_window_put(w);
	return ret;
}

int mir_to_device(struct dmirror *dm, struct hmm_dmirror_cmd *cmd,
		  int (*run)(struct mir_window *w, unsigned long start, unsigned long end,
			     char *buffer))
{
	size_t bytes = cmd->npages * MIR_PAGE;
	int ret = mir_table_reserve(&dm->table, cmd->addr, mir_end(cmd));
	char *buffer = ret ? NULL : mir_map(bytes);

	if (!buffer)
		return -ENOMEM;
	ret = to_device(dm, cmd, buffer, run);
	if (!ret)
		ret = mir_to_user(cmd->ptr, buffer, bytes);
	mir_unmap(buffer, bytes);
	return ret;
}

int mir_migrate_to_device(struct dmirror *dm, struct hmm_dmirror_cmd *cmd)
{
	int ret = check_readable(dm, cmd->addr, mir_end(cmd));

	return ret ? ret : mir_to_device(dm, cmd, run_to_device);
}

/* ---- and home ---------------------------------------------------------------------------- */

static void drop_everywhere(struct mir_device *device, unsigned long start, unsigned long end)
{
	mir_lock(device);
	for (struct dmirror *dm = device->open; dm; dm = dm->next)
		mir_table_drop(&dm->table, start, end, 0);
	device->revokes++;
	mir_unlock(device);
}

static int run_to_system(struct mir_device *device, unsigned long start, unsigned long end,
			 uint64_t *came)
{
	struct run run;
	int ret;

	prepare(&run, device, start, end, MIGRATE_VMA_SELECT_DEVICE_PRIVATE);
	ret = setup(&run.args);
	if (ret)
		return ret;
	drop_everywhere(device, start, end);
	for (unsigned long i = 0; i < run.args.npages; i++)
		run.dst[i] = run.src[i] & MIGRATE_PFN_MIGRATE ? MIGRATE_PFN_VALID : 0;
	migrate_vma_pages(&run.args);
	for (unsigned long i = 0; i < run.args.npages; i++)
		*came += run.dst[i] && (run.src[i] & MIGRATE_PFN_MIGRATE);
	migrate_vma_finalize(&run.args);
	return 0;
}

int mir_migrate_to_system(struct dmirror *dm, struct hmm_dmirror_cmd *cmd)
{
	struct mir_device *device = dm->device;
	unsigned long end = mir_end(cmd);
	int ret = check_readable(dm, cmd->addr, end);

	if (ret)
		return ret;
	pthread_mutex_lock(&device->migration);
	for (unsigned long at = cmd->addr, next; !ret && device->arena && at < end; at = next) {
		next = mir_chunk_end(at, end);
		ret = run_to_system(device, at, next, &cmd->cpages);
	}
	pthread_mutex_unlock(&device->migration);
	return ret;
}

/* Everything that is on the device comes home: revoke() for each. */
int mir_release(struct dmirror *dm, struct hmm_dmirror_cmd *cmd)
{
	struct mir_device *device = dm->device;
	int ret = 0;

	(void)cmd;
	pthread_mutex_lock(&device->migration);
	if (device->arena)
		ret = hmmu_devmem_close(device->arena);
	if (!ret)
		device->arena = NULL;
	pthread_mutex_unlock(&device->migration);
	return ret;
}
