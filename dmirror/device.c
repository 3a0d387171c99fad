// SPDX-License-Identifier: MIT
/*
 * device.c - opened, closed, asked; its locks, its memory, and revoke().
 */
#include <errno.h>

#include "dmirror.h"

#ifdef DMIRROR_PLANT
bool dmirror_plant_no_revoke;
void (*dmirror_gate)(void);
#define PLANTED_NO_REVOKE dmirror_plant_no_revoke
#else
#define PLANTED_NO_REVOKE false
#endif

/* ---- locks ------------------------------------------------------------------------------ */

void mir_lock(struct mir_device *device)
{
	hmmu_debug_lock(&device->lock, "dmirror device.lock", false);
	pthread_mutex_lock(&device->lock);
}

bool mir_trylock(struct mir_device *device)
{
	if (pthread_mutex_trylock(&device->lock))
		return false;
	hmmu_debug_lock(&device->lock, "dmirror device.lock", true);
	return true;
}

void mir_unlock(struct mir_device *device)
{
	hmmu_debug_unlock(&device->lock);
	pthread_mutex_unlock(&device->lock);
}

void mir_lock_access(struct mir_device *device)
{
	hmmu_debug_lock(&device->access, "dmirror device.access", false);
	pthread_mutex_lock(&device->access);
}

void mir_unlock_access(struct mir_device *device)
{
	hmmu_debug_unlock(&device->access);
	pthread_mutex_unlock(&device->access);
}

void mir_lock_both(struct mir_device *device)
{
	mir_lock_access(device);
	mir_lock(device);
}

bool mir_trylock_both(struct mir_device *device)
{
	if (pthread_mutex_trylock(&device->access))
		return false;
	hmmu_debug_lock(&device->access, "dmirror device.access", true);
	if (mir_trylock(device))
		return true;
	mir_unlock_access(device);
	return false;
}

void mir_unlock_both(struct mir_device *device)
{
	mir_unlock(device);
	mir_unlock_access(device);
}

/* ---- its memory ---------------------------------------------------------------------------
 */

static void revoke(void *context, unsigned long addr, unsigned long pfn,
		   enum mmu_notifier_event why)
{
	struct mir_device *device = context;

	(void)pfn;
	(void)why;
	if (PLANTED_NO_REVOKE)
		return;
	mir_lock(device);
	for (struct dmirror *dm = device->open; dm; dm = dm->next)
		mir_table_drop(&dm->table, addr, addr + MIR_PAGE, 0);
	device->revokes++;
	mir_unlock(device);
}

int mir_arena(struct mir_device *device)
{
	static const struct dev_pagemap_ops ops = {.revoke = revoke};
	const struct dev_pagemap_options options = {
		.size = sizeof(options),
		.bytes = MIR_ARENA,
		.owner = device,
	};

	if (device->arena)
		return 0;
	return hmmu_devmem_open(&device->arena, device->process->mm, &ops, device, &options);
}

/* ---- open and close -------------------------------------------------------------------------
 */

static int process_get(struct mir_process *process)
{
	int ret = 0;

	pthread_mutex_lock(&process->lock);
	if (!process->mm)
		ret = hmmu_mm_open(&process->mm, NULL);
	if (!ret)
		process->users++;
	pthread_mutex_unlock(&process->lock);
	return ret;
}

/* The last one: pages come home. An arena or an mm that cannot be closed now is found by the
 * next open. */
static void process_put(struct mir_process *process)
{
	pthread_mutex_lock(&process->lock);
	for (unsigned int i = 0; i < MIR_DEVICES; i++) {
		struct mir_device *device = &process->device[i];

		pthread_mutex_lock(&device->migration);
		if (!device->open && device->arena && !hmmu_devmem_close(device->arena))
			device->arena = NULL;
		pthread_mutex_unlock(&device->migration);
	}
	if (!--process->users && !hmmu_mm_close(process->mm))
		process->mm = NULL;
	pthread_mutex_unlock(&process->lock);
}

int mir_open(struct mir_process *process, struct dmirror *dm, unsigned int device)
{
	int ret = mir_table_init(&dm->table);

	if (ret)
		return ret;
	ret = process_get(process);
	if (ret) {
		mir_table_free(&dm->table);
		return ret;
	}
	dm->device = &process->device[device];
	pthread_mutex_init(&dm->windows_lock, NULL);
	mir_lock(dm->device);
	dm->device->process = process;
	dm->next = dm->device->open;
	dm->device->open = dm;
	mir_unlock(dm->device);
	return 0;
}

void mir_close(struct mir_process *process, struct dmirror *dm)
{
	struct dmirror **link = &dm->device->open;

	mir_windows_remove(dm);
	mir_lock(dm->device);
	while (*link != dm)
		link = &(*link)->next;
	*link = dm->next;
	mir_unlock(dm->device);
	mir_table_free(&dm->table);
	process_put(process);
}

/* ---- asked
 * ------------------------------------------------------------------------------------ */

static int dispatch(struct dmirror *dm, unsigned long request, struct hmm_dmirror_cmd *cmd)
{
	switch (request) {
	case HMM_DMIRROR_READ:
		return mir_read(dm, cmd);
	case HMM_DMIRROR_WRITE:
		return mir_write(dm, cmd);
	case HMM_DMIRROR_MIGRATE_TO_DEV:
		return mir_migrate_to_device(dm, cmd);
	case HMM_DMIRROR_MIGRATE_TO_SYS:
		return mir_migrate_to_system(dm, cmd);
	case HMM_DMIRROR_SNAPSHOT:
		return mir_snapshot(dm, cmd);
	case HMM_DMIRROR_EXCLUSIVE:
		return mir_exclusive(dm, cmd);
	case HMM_DMIRROR_CHECK_EXCLUSIVE:
		return mir_check_exclusive(dm, cmd);
	case HMM_DMIRROR_RELEASE:
		return mir_release(dm, cmd);
	default:
		return -EINVAL;
	}
}

int mir_ioctl(struct dmirror *dm, unsigned long request, void *arg)
{
	struct hmm_dmirror_cmd cmd;
	int ret;

	if (mir_from_user(&cmd, (uint64_t)arg, sizeof(cmd)))
		return -EFAULT;
	/* Not aligned, empty, or around the end of the numbers. */
	if (cmd.addr % MIR_PAGE || !cmd.npages ||
	    cmd.npages > (UINT64_MAX - cmd.addr) / MIR_PAGE)
		return -EINVAL;
	cmd.cpages = 0;
	cmd.faults = 0;
	ret = dispatch(dm, request, &cmd);
	if (!ret)
		ret = mir_to_user((uint64_t)arg, &cmd, sizeof(cmd));
	return ret;
}
