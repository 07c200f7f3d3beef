"""Everything in fdet that needs an accelerator: checks first, then figures.

    PYTHONPATH=FOLDER python -m fdet.benchmarks.gpu

FOLDER has the checkout under the name fdet; nothing is installed but torch, torchvision and what
benchmarks/gpu-requirements.txt names. Images are drawn and weights are random, so nothing is fetched.
"""
