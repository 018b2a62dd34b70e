#!/usr/bin/env python3
"""EER of four systems on one synthetic corpus, as `synth_corpus` (an example of sv-audio) writes it.

  measure.py CORPUS_DIR [--systems lda,resemblyzer,untrained,pilot] [--threads 1] [--pilot-... ] [--json OUT]

Trials: every pair of recordings of the speakers in trial.tsv, within a speaker (targets) and across.

lda          scikit-learn's LDA (eigen solver, Ledoit-Wolf shrinkage, 40 dimensions) on mean and deviation of 40 log-mel
             bands at 16 kHz, fitted on train.tsv; cosine of the centred outputs.
resemblyzer  preprocess_wav and VoiceEncoder.embed_utterance of the package with its own weights; cosine.
untrained    3 x LSTM 128 with projection 64 on 40 log10-mel bands at 8 kHz, initial weights (mean of three seeds).
pilot        the same network after training with GE2E (softmax) on train.tsv.

Made with: torch 2.8.0, librosa 0.11.0, scikit-learn 1.9.1, numpy 2.4.6, scipy 1.17.1, resemblyzer 0.1.4.
"""
import argparse, json, math, os, time, warnings

import numpy as np

warnings.filterwarnings("ignore")


def read(folder, part):
    """Recordings as int16 arrays, and their speakers."""
    rows = np.loadtxt(f"{folder}/{part}.tsv", dtype=np.int64, ndmin=2)
    samples = np.fromfile(f"{folder}/{part}.raw", dtype="<i2")
    ends = np.cumsum(rows[:, 2])
    assert ends[-1] == len(samples), "list and samples differ"
    return [samples[e - n:e] for e, n in zip(ends, rows[:, 2])], rows[:, 0]


def wave(x):
    return x.astype(np.float32) / 32768


def eer(embeddings, speakers):
    """Crossing of FAR and FRR, linear between ROC points, over all pairs; cosine."""
    e = embeddings / (np.linalg.norm(embeddings, axis=1, keepdims=True) + 1e-12)
    a, b = np.triu_indices(len(e), 1)
    scores, labels = (e @ e.T)[a, b], speakers[a] == speakers[b]
    order = np.argsort(scores, kind="stable")
    s, lab = scores[order], labels[order]
    last = np.append(np.flatnonzero(np.diff(s)), len(s) - 1)
    t, n = np.cumsum(lab), np.cumsum(~lab)
    frr = np.concatenate([[0], t[last] / t[-1]])
    far = np.concatenate([[1], 1 - n[last] / n[-1]])
    d = frr - far
    i = int(np.argmax(d >= 0))
    if i == 0 or d[i] == 0:
        return float((far[i] + frr[i]) / 2)
    w = -d[i - 1] / (d[i] - d[i - 1])
    return float(far[i - 1] + w * (far[i] - far[i - 1]))


# ---- LDA -----------------------------------------------------------------------------------------------------------

def mel_filters(rate, n_fft, low, high):
    import librosa
    return librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=40, fmin=low, fmax=high)


def power_spectrum(x, n_fft, window, hop):
    import torch
    w = torch.hann_window(window, dtype=torch.float64)
    z = torch.stft(torch.from_numpy(x.astype(np.float64)), n_fft, hop, window, w, center=True, pad_mode="constant",
                   return_complex=True)
    return (z.abs() ** 2).numpy()


def stats(x, bank):
    """librosa.feature.melspectrogram(sr=16000, n_fft=512, win_length=400, hop_length=160, ...), log, mean and deviation."""
    m = np.log(bank @ power_spectrum(wave(x), 512, 400, 160) + 1e-8)
    return np.concatenate([m.mean(1), m.std(1)])


def lda(train, trial):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    bank = mel_filters(16000, 512, 20, 7600)
    x, y = np.array([stats(w, bank) for w in train[0]]), np.array([stats(w, bank) for w in trial[0]])
    mu, sd = x.mean(0), x.std(0)
    model = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=40)
    model.fit((x - mu) / sd, train[1])
    return eer(model.transform((y - mu) / sd), trial[1])


def resemblyzer(trial):
    from resemblyzer import VoiceEncoder, preprocess_wav
    encoder = VoiceEncoder("cpu", verbose=False)
    out = []
    for w in trial[0]:
        x = wave(w)
        y = preprocess_wav(x, source_sr=16000)
        out.append(encoder.embed_utterance(y if len(y) >= 4800 else x))
    return eer(np.array(out), trial[1])


# ---- LSTM ----------------------------------------------------------------------------------------------------------

def logmel8(x, bank):
    """ge2e-tf: 8 kHz, n_fft 512, hann 200, hop 80, centred, Slaney mel, log10(x + 1e-6): (frames, 40)."""
    from scipy.signal import resample_poly
    y = resample_poly(wave(x).astype(np.float64), 1, 2)
    return np.log10(bank @ power_spectrum(y, 512, 200, 80) + 1e-6).T.astype(np.float32)


def network(seed):
    import torch
    torch.manual_seed(seed)
    return torch.nn.LSTM(40, 128, num_layers=3, proj_size=64, batch_first=True)


def embed(net, features, mu, sd, length):
    """Mean of unit d-vectors over windows of `length` frames, half overlapped; the last output of each."""
    import torch
    net.eval()
    rows, owner = [], []
    for i, f in enumerate(features):
        starts = list(range(0, max(len(f) - length, 0) + 1, length // 2))
        if len(f) > length and starts[-1] + length < len(f):
            starts.append(len(f) - length)
        for s in starts:
            part = f[s:s + length]
            if len(part) < length:
                part = np.pad(part, ((0, length - len(part)), (0, 0)), mode="edge")
            rows.append(part)
            owner.append(i)
    rows, owner = (np.array(rows) - mu) / sd, np.array(owner)
    out = np.zeros((len(features), 64))
    with torch.no_grad():
        for s in range(0, len(rows), 256):
            e = net(torch.from_numpy(rows[s:s + 256].astype(np.float32)))[0][:, -1]
            e = torch.nn.functional.normalize(e, dim=1).numpy()
            np.add.at(out, owner[s:s + 256], e)
    return out


def ge2e(e, speakers, utterances, w, b):
    """Softmax variant; own utterance left out of its centroid. e: (N * M, D), unit rows."""
    import torch
    e = e.view(speakers, utterances, -1)
    total = e.sum(1)
    others = torch.nn.functional.normalize(total[:, None] - e, dim=2)
    centroids = torch.nn.functional.normalize(total, dim=1)
    sim = torch.einsum("nmd,kd->nmk", e, centroids)
    own = (e * others).sum(2)
    eye = torch.eye(speakers)[:, None, :]
    sim = w.clamp(min=1e-6) * (sim * (1 - eye) + own[:, :, None] * eye) + b
    target = torch.arange(speakers).repeat_interleave(utterances)
    return torch.nn.functional.cross_entropy(sim.view(speakers * utterances, speakers), target)


def train(net, features, labels, mu, sd, a, evaluate):
    import torch
    rng = np.random.default_rng(a.pilot_seed)
    by = [np.flatnonzero(labels == s) for s in np.unique(labels)]
    if a.forget_bias:
        with torch.no_grad():
            for k in range(3):
                getattr(net, f"bias_ih_l{k}")[128:256] = a.forget_bias
                getattr(net, f"bias_hh_l{k}")[128:256] = 0
    w, b = torch.nn.Parameter(torch.tensor(10.0)), torch.nn.Parameter(torch.tensor(-5.0))
    opt = torch.optim.Adam([{"params": net.parameters()}, {"params": [w, b]}], lr=a.rate)
    grid = np.arange(40)
    kernel = np.exp(-0.5 * ((grid[:, None] - grid[None]) / 4) ** 2)
    kernel /= np.sqrt((kernel ** 2).sum(1, keepdims=True))
    norm = [((f - mu) / sd).astype(np.float32) for f in features]
    started, running = time.time(), None
    for step in range(a.steps):
        scale = min(1, (step + 1) / 30) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / a.steps)))
        for g in opt.param_groups:
            g["lr"] = a.rate * scale
        rows = np.empty((a.speakers * a.utterances, a.frames, 40), np.float32)
        for i, s in enumerate(rng.choice(len(by), a.speakers, replace=False)):
            for j, u in enumerate(rng.choice(by[s], a.utterances, replace=False)):
                f = norm[u]
                start = rng.integers(0, max(len(f) - a.frames, 0) + 1)
                part = f[start:start + a.frames]
                if len(part) < a.frames:
                    part = np.pad(part, ((0, a.frames - len(part)), (0, 0)), mode="edge")
                rows[i * a.utterances + j] = part + a.feature_eq * (kernel @ rng.standard_normal(40))
        net.train()
        e = torch.nn.functional.normalize(net(torch.from_numpy(rows))[0][:, -1], dim=1)
        loss = ge2e(e, a.speakers, a.utterances, w, b)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 3)
        opt.step()
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % a.every == 0 or step + 1 == a.steps:
            rate = evaluate()
            print(f"  step {step + 1}  loss {running:.3f}  EER {100 * rate:.2f} %  {time.time() - started:.0f} s", flush=True)
    return rate, time.time() - started


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("corpus")
    p.add_argument("--systems", default="lda,resemblyzer,untrained,pilot")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--steps", type=int, default=1000)
    p.add_argument("--speakers", type=int, default=16)
    p.add_argument("--utterances", type=int, default=4)
    p.add_argument("--frames", type=int, default=100)
    p.add_argument("--rate", type=float, default=3e-3)
    p.add_argument("--feature-eq", type=float, default=0.25)
    p.add_argument("--forget-bias", type=float, default=3.0)
    p.add_argument("--pilot-seed", type=int, default=1)
    p.add_argument("--every", type=int, default=200)
    p.add_argument("--json")
    a = p.parse_args()
    import torch
    torch.set_num_threads(a.threads)
    systems = a.systems.split(",")
    out = {"corpus": os.path.basename(os.path.normpath(a.corpus))}
    trial = read(a.corpus, "trial")
    training = read(a.corpus, "train") if {"lda", "untrained", "pilot"} & set(systems) else None

    def report(name, value):
        out[name] = round(100 * value, 2)
        print(f"{out['corpus']}  {name}  {out[name]:.2f} %", flush=True)

    if "lda" in systems:
        report("lda", lda(training, trial))
    if "resemblyzer" in systems:
        report("resemblyzer", resemblyzer(trial))
    if {"untrained", "pilot"} & set(systems):
        bank = mel_filters(8000, 512, 0, 4000)
        started = time.time()
        fit, test = [logmel8(x, bank) for x in training[0]], [logmel8(x, bank) for x in trial[0]]
        every = np.concatenate(fit)
        mu, sd = every.mean(0), every.std(0)
        print(f"features: {time.time() - started:.0f} s", flush=True)
        score = lambda net, m, d: eer(embed(net, test, m, d, a.frames), trial[1])
        if "untrained" in systems:
            report("untrained", float(np.mean([score(network(s), 0.0, 1.0) for s in (1, 2, 3)])))
            report("untrained, standardised input", float(np.mean([score(network(s), mu, sd) for s in (1, 2, 3)])))
        if "pilot" in systems:
            net = network(a.pilot_seed)
            rate, seconds = train(net, fit, training[1], mu, sd, a, lambda: score(net, mu, sd))
            report("pilot", rate)
            out["pilot_seconds"] = round(seconds)
    if a.json:
        with open(a.json, "w") as fh:
            json.dump(out, fh, indent=1)
            fh.write("\n")


if __name__ == "__main__":
    main()
